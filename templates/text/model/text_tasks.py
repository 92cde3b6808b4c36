"""What a request of each task asks of the graph, and the tensors that answer it.

The names and request parameters are those of NVIDIA's NIM retriever (embed, rerank). A task is a
function ``(settings, columns, asked) -> Work``; Refused carries what is wrong with a request.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from text_rows import Refused, unit

TRUNCATE = ("NONE", "END", "START")
_USES = {
    "query": ("query",),
    "passage": ("passage", "document"),
    "document": ("document", "passage"),
}


@dataclass
class Work:
    """One request: what to tokenize, and how its rows become tensors."""

    items: list
    truncate: str
    answer: Any
    """(rows, token counts) -> tensors by name."""
    prompt: str = ""
    """Text at the beginning of every item that pooling leaves out."""


def prepare(settings, columns, asked):
    """The work of a request; ``columns`` are its texts by tensor, ``asked`` its parameters."""
    sizes = {len(column) for column in columns.values()}
    if sizes == {0}:
        raise Refused("the request has no text: send at least one")
    if len(sizes) != 1:
        raise Refused("the inputs have different numbers of texts: send one of each for each row")
    return _TASKS[settings["task"]](settings, columns, asked)


def _embed(settings, columns, asked):
    prompt = _prompt(settings, asked)
    size, cut = _dimensions(settings, asked)
    wanted = asked.get("embedding_type") or "float"
    if wanted not in _VECTOR_TYPES:
        known = ", ".join(_VECTOR_TYPES)
        raise Refused(f"embedding_type {wanted!r} is not known: send one of {known}")

    def answer(rows, counts):
        vectors = np.stack(rows).astype(np.float32)
        if size:
            vectors = vectors[:, :size]
        if cut and settings["normalized"]:
            vectors = unit(vectors)
        vectors = _VECTOR_TYPES[wanted](vectors).astype(np.float32)
        return {"embeddings": vectors, "token_count": _column(counts, np.int32)}

    items = [prompt + text for text in columns["text"]]
    left_out = "" if settings["include_prompt"] else prompt
    return Work(items, _truncate(settings, asked), answer, left_out)


def _prompt(settings, asked):
    prompts = settings["prompts"]
    name = asked.get("prompt_name", "")
    if name:
        if name not in prompts:
            known = ", ".join(sorted(prompts)) or "it has none"
            raise Refused(f"the model has no prompt {name!r}: leave prompt_name out ({known})")
        return prompts[name]
    use = asked.get("input_type", "")
    if not use:
        return prompts.get(settings["default_prompt"], "")
    if use not in _USES:
        raise Refused(f"input_type {use!r} is not known: send query or passage, or leave it out")
    return next((prompts[one] for one in _USES[use] if one in prompts), "")


def _dimensions(settings, asked):
    """Numbers to keep (0: all), and whether that is on request: only then is the length made 1
    again, which the reference's own cut leaves."""
    whole, allowed = settings["dimension"], settings["matryoshka"]
    own, size = settings["truncate_dimension"], asked.get("dimensions")
    if size is None or size == (own or whole):
        return own, False
    if not allowed:
        raise Refused(
            f"dimensions {size} cannot be had: the model was not trained to be cut (Matryoshka), "
            f"and its vectors have {whole}: leave dimensions out"
        )
    number = isinstance(size, int) and not isinstance(size, bool)
    if not number or not (0 < size < whole if allowed == "any" else size in allowed):
        known = f"1 to {whole}" if allowed == "any" else f"one of {', '.join(map(str, allowed))}"
        raise Refused(f"dimensions {size} cannot be had: send {known}")
    return size, True


def _rerank(settings, columns, asked):
    def answer(rows, counts):
        logits = np.stack(rows).astype(np.float32).reshape(len(rows), -1)[:, 0]
        order = np.argsort(-logits, kind="stable")
        best = logits[order]
        return {
            "index": _column(order, np.int32),
            "logit": _column(best, np.float32),
            "score": _column(_ACTIVATIONS[settings["activation"]](best[:, None])[:, 0], np.float32),
            # in the order of the passages
            "token_count": _column(counts, np.int32),
        }

    pairs = list(zip(columns["query"], columns["passage"], strict=True))
    return Work(pairs, _truncate(settings, asked), answer)


def _classify(settings, columns, asked):
    raw = asked.get("raw_scores", False)
    if not isinstance(raw, bool):
        raise Refused(f"raw_scores {raw!r} is not true or false")
    labels = np.array([label.encode() for label in settings["labels"]], dtype=np.object_)

    def answer(rows, counts):
        logits = np.stack(rows).astype(np.float32)
        scores = logits if raw else _ACTIVATIONS[settings["activation"]](logits)
        return {
            "scores": scores.astype(np.float32),
            "label": labels[scores.argmax(axis=1)].reshape(-1, 1),
            "token_count": _column(counts, np.int32),
        }

    items = columns["text"]
    if "text_pair" in columns:
        items = list(zip(items, columns["text_pair"], strict=True))
    return Work(items, _truncate(settings, asked), answer)


def _truncate(settings, asked):
    given = asked.get("truncate") or settings["truncate"]
    chosen = str(given).upper()
    if chosen not in TRUNCATE:
        raise Refused(f"truncate {given!r} is not known: send NONE, END or START")
    return chosen


def _column(values, kind):
    return np.asarray(values, dtype=kind).reshape(-1, 1)


def _int8(vectors):
    """Whole numbers from -127 to 127. Each vector has its own scale, which keeps its direction."""
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    return np.rint(vectors * (127 / np.maximum(largest, 1e-12)))


def _ubinary(vectors):
    """The sign of each number as a bit, eight to a byte, the first number in the highest bit."""
    return np.packbits(vectors > 0, axis=1).astype(np.float32)


def _sigmoid(logits):
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def _softmax(logits):
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


_ACTIVATIONS = {"identity": lambda logits: logits, "sigmoid": _sigmoid, "softmax": _softmax}
_VECTOR_TYPES = {
    "float": lambda vectors: vectors,
    "binary": lambda vectors: _ubinary(vectors) - 128,
    "ubinary": _ubinary,
    "int8": _int8,
    "uint8": lambda vectors: _int8(vectors) + 128,
}
_TASKS = {"embed": _embed, "rerank": _rerank, "classify": _classify}
