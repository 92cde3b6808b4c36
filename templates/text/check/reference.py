"""What the reference implementation answers: sentence-transformers or transformers."""

import json
import sys
from pathlib import Path

import torch

_USES = {"query": ("query",), "passage": ("passage", "document")}
_LOADING = {"dtype": torch.float32, "use_safetensors": True}


class Vectors:
    """sentence-transformers' ``encode``."""

    def __init__(self, folder, settings):
        from sentence_transformers import SentenceTransformer

        _require_own_modules(Path(folder))
        self._settings = settings
        self._model = SentenceTransformer(
            str(folder),
            device="cpu",
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs=dict(_LOADING),
        )

    def rows(self, items, use):
        """One vector for each text, each computed alone."""
        prompts = self._settings["prompts"]
        named = next((name for name in _USES.get(use, ()) if name in prompts), None)
        # An empty prompt, so that the default one is not taken.
        asked = {"prompt_name": named} if named or not use else {"prompt": ""}
        return self._model.encode(items, batch_size=1, show_progress_bar=False, **asked)


def _require_own_modules(folder):
    """sentence-transformers imports the classes that modules.json names, whatever they are."""
    path = folder / "modules.json"
    rows = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    foreign = [row["type"] for row in rows if not row["type"].startswith("sentence_transformers.")]
    if foreign:
        sys.exit(
            f"ERROR: modules.json names a class that is not sentence-transformers': {foreign[0]}"
        )


class Scores:
    """The logits of a sequence classifier: of texts, or of pairs as CrossEncoder joins them."""

    def __init__(self, folder, settings):
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self._model = AutoModelForSequenceClassification.from_pretrained(
            folder, trust_remote_code=False, **_LOADING
        ).eval()
        self._limit = settings["max_tokens"]

    @torch.inference_mode()
    def rows(self, items, _use):
        """The logits of each item, each computed alone."""
        found = []
        for item in items:
            texts = [item] if isinstance(item, str) else list(item)
            batch = self._tokenizer(
                *[[text] for text in texts],
                truncation=True,
                max_length=self._limit,
                return_tensors="pt",
            )
            found.append(self._model(**batch).logits[0].numpy())
        return found


def of(task):
    """The reference of a task."""
    return Vectors if task == "embed" else Scores
