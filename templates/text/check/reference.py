"""What the reference implementation answers: sentence-transformers or transformers."""

import json
import sys
from pathlib import Path

import torch

_USES = {"query": ("query",), "passage": ("passage", "document")}
_LOADING = {"dtype": torch.float32, "use_safetensors": True}


class Vectors:
    """sentence-transformers' ``encode``, of the class that the checkpoint is for."""

    def __init__(self, folder, settings):
        import sentence_transformers

        _require_own_modules(Path(folder))
        self._settings = settings
        self._model = getattr(sentence_transformers, _CLASSES[settings["head"]])(
            str(folder),
            device="cpu",
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs=dict(_LOADING),
        )

    def rows(self, items, use):
        """One vector for each text, or one for each token, each text computed alone."""
        prompts = self._settings["prompts"]
        named = next((name for name in _USES.get(use, ()) if name in prompts), None)
        # An empty prompt, so that the default one is not taken.
        asked = {"prompt_name": named} if named or not use else {"prompt": ""}
        encode = {"query": self._model.encode_query, "passage": self._model.encode_document}.get(
            use, self._model.encode
        )
        found = encode(items, batch_size=1, show_progress_bar=False, **asked)
        if self._settings["head"] == "sparse":
            return found.to_dense().numpy()
        return [one.numpy() if hasattr(one, "numpy") else one for one in found]


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
    """The logits of a classifier of texts or tokens, or of pairs as CrossEncoder joins them."""

    _kind = "AutoModelForSequenceClassification"

    def __init__(self, folder, settings):
        import transformers

        self._tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False
        )
        self._model = (
            getattr(transformers, self._kind)
            .from_pretrained(folder, trust_remote_code=False, **_LOADING)
            .eval()
        )
        self._settings = settings

    @torch.inference_mode()
    def rows(self, items, _use):
        """The logits of each item, each computed alone."""
        return [self._row(item) for item in items]

    def _row(self, item):
        texts = [item] if isinstance(item, str) else list(item)
        batch = self._tokenizer(
            *[[text] for text in texts],
            truncation=True,
            max_length=self._settings["max_tokens"] or None,
            return_tensors="pt",
        )
        return self._model(**batch).logits[0].numpy()


class TokenScores(Scores):
    """A row of logits for each token."""

    _kind = "AutoModelForTokenClassification"


class Modules:
    """The logits of a cross-encoder that is a body and sentence-transformers' modules."""

    def __init__(self, folder, settings):  # noqa: ARG002
        from sentence_transformers import CrossEncoder

        _require_own_modules(Path(folder))
        self._model = CrossEncoder(
            str(folder), device="cpu", trust_remote_code=False, local_files_only=True,
            model_kwargs=dict(_LOADING),
        )  # fmt: skip

    def rows(self, items, _use):
        """The logits of each pair, each computed alone."""
        found = self._model.predict(
            items, batch_size=1, show_progress_bar=False, activation_fn=torch.nn.Identity()
        )
        return found.reshape(len(items), -1)


class Words(Scores):
    """The logit of one word after a prompt, or the difference of two, as model cards compute it."""

    _kind = "AutoModelForCausalLM"

    def _row(self, item):
        import text_heads

        template = self._settings["pair_template"]
        start, end = template.split("{document}")
        query, document = item
        encode = self._tokenizer.encode
        words = text_heads.word_tokens(self._tokenizer.name_or_path, self._settings["score_words"])
        prompt = start.replace("{query}", query)
        ids = encode(prompt + document + end)
        limit = self._settings["max_tokens"]
        if limit and len(ids) > limit:
            # A card cuts the body of the prompt before it adds the end.
            tail = encode(end, add_special_tokens=False)
            ids = encode(prompt + document)[: limit - len(tail)] + tail
        logits = self._model(torch.tensor([ids])).logits[0, -1]
        difference = logits[words[0]] - (logits[words[1]] if len(words) > 1 else 0)
        return difference.reshape(1).numpy()


_CLASSES = {
    "dense": "SentenceTransformer", "sparse": "SparseEncoder", "multi-vector": "MultiVectorEncoder",
}  # fmt: skip


def of(settings):
    """The reference of a head."""
    if settings["head"] in _CLASSES:
        return Vectors
    if settings["head"] == "token-labels":
        return TokenScores
    if settings["modular"]:
        return Modules
    return Words if settings["pair_template"] else Scores
