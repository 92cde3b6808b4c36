"""What the reference implementation answers: sentence-transformers or transformers."""

import torch

_USES = {"query": ("query",), "passage": ("passage", "document")}
_LOADING = {"dtype": torch.float32, "use_safetensors": True}


class Vectors:
    """sentence-transformers' ``encode``."""

    def __init__(self, folder, settings):
        from sentence_transformers import SentenceTransformer

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
