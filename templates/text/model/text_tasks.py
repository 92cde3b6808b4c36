"""What a request to each head asks of the graph, and the tensors that answer it.

The names and request parameters are those of NVIDIA's NIM retriever (embed, rerank). A head is a
function ``(settings, columns, asked) -> Work``; Refused carries what is wrong with a request.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from text_entities import AGGREGATIONS, entities
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
    """(rows, the tokens of each) -> tensors by name."""
    prompt: str = ""
    """Text at the beginning of every item that pooling leaves out."""
    use: str = ""
    """``query`` or ``passage``, where their lengths differ."""


def prepare(settings, columns, asked):
    """The work of a request; ``columns`` are its texts by tensor, ``asked`` its parameters."""
    sizes = {len(column) for column in columns.values()}
    if sizes == {0}:
        raise Refused("the request has no text: send at least one")
    if len(sizes) != 1:
        raise Refused("the inputs have different numbers of texts: send one of each for each row")
    return _HEADS[settings["head"]](settings, columns, asked)


def _dense(settings, columns, asked):
    size, cut = _dimensions(settings, asked)
    wanted = asked.get("embedding_type") or "float"
    if wanted not in _VECTOR_TYPES:
        known = ", ".join(_VECTOR_TYPES)
        raise Refused(f"unknown embedding_type {wanted!r}: send one of {known}")

    def answer(rows, tokens):
        vectors = np.stack(rows).astype(np.float32)
        if size:
            vectors = vectors[:, :size]
        if cut and settings["normalized"]:
            vectors = unit(vectors)
        vectors = _VECTOR_TYPES[wanted](vectors).astype(np.float32)
        return {"embeddings": vectors, "token_count": _counts(tokens)}

    return _prompted(settings, columns, asked, answer)


def _sparse(settings, columns, asked):
    _require_whole(settings, asked)

    def answer(rows, tokens):
        places = [np.flatnonzero(row > 0) for row in rows]
        indices = np.full((len(rows), max(map(len, places))), -1, dtype=np.int32)
        values = np.zeros(indices.shape, dtype=np.float32)
        for at, (row, place) in enumerate(zip(rows, places, strict=True)):
            indices[at, : len(place)] = place
            values[at, : len(place)] = row[place]
        return {"indices": indices, "values": values, "token_count": _counts(tokens)}

    return _prompted(settings, columns, asked, answer)


def _multi_vector(settings, columns, asked):
    _require_whole(settings, asked)

    def answer(rows, tokens):
        kept = [row[one.kept] for row, one in zip(rows, tokens, strict=True)]
        sizes = [len(one) for one in kept]
        vectors = np.zeros((len(rows), max(sizes), rows[0].shape[1]), dtype=np.float32)
        for at, one in enumerate(kept):
            vectors[at, : len(one)] = one
        return {
            "token_embeddings": vectors,
            "vector_count": _column(sizes, np.int32),
            "token_count": _counts(tokens),
        }

    return _prompted(settings, columns, asked, answer)


def _require_whole(settings, asked):
    if asked.get("dimensions") not in (None, settings["dimension"]):
        raise Refused(
            "dimensions is not supported: the model's vectors are never shortened; leave it out"
        )


def _prompted(settings, columns, asked, answer):
    prompt = _prompt(settings, asked)
    items = [prompt + text for text in columns["text"]]
    use = {"document": "passage"}.get(asked.get("input_type", ""), asked.get("input_type", ""))
    left_out = "" if settings["include_prompt"] else prompt
    return Work(items, _truncate(settings, asked), answer, left_out, use)


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
        raise Refused(f"unknown input_type {use!r}: send query or passage, or leave it out")
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
            f"dimensions {size} is not supported: the model was not trained for shorter "
            f"vectors (Matryoshka), and its own have {whole} numbers: leave dimensions out"
        )
    number = isinstance(size, int) and not isinstance(size, bool)
    if not number or not (0 < size < whole if allowed == "any" else size in allowed):
        known = f"1 to {whole}" if allowed == "any" else f"one of {', '.join(map(str, allowed))}"
        raise Refused(f"dimensions {size} is not supported: send {known}")
    return size, True


def _score(settings, columns, asked):
    def answer(rows, tokens):
        logits = np.stack(rows).astype(np.float32).reshape(len(rows), -1)[:, 0]
        order = np.argsort(-logits, kind="stable")
        best = logits[order]
        return {
            "index": _column(order, np.int32),
            "logit": _column(best, np.float32),
            "score": _column(_ACTIVATIONS[settings["activation"]](best[:, None])[:, 0], np.float32),
            # in the order of the passages
            "token_count": _counts(tokens),
        }

    pairs = list(zip(columns["query"], columns["passage"], strict=True))
    return Work(pairs, _truncate(settings, asked), answer)


def _labels(settings, columns, asked):
    activation = _activation(settings, asked)

    def answer(rows, tokens):
        return {**_labelled(settings, rows, activation), "token_count": _counts(tokens)}

    items = columns["text"]
    if "text_pair" in columns:
        items = list(zip(items, columns["text_pair"], strict=True))
    return Work(items, _truncate(settings, asked), answer)


def image_labels(settings, asked):
    """What makes tensors of the rows of images; Refused for a wrong parameter."""
    activation = _activation(settings, asked)
    return lambda rows: _labelled(settings, rows, activation)


def _labelled(settings, rows, activation):
    labels = np.array([label.encode() for label in settings["labels"]], dtype=np.object_)
    scores = activation(np.stack(rows).astype(np.float32))
    return {
        "scores": scores.astype(np.float32),
        "label": labels[scores.argmax(axis=1)].reshape(-1, 1),
    }


def _token_labels(settings, columns, asked):
    activation = _activation(settings, asked)
    how = asked.get("aggregation") or AGGREGATIONS[1]
    if how not in AGGREGATIONS:
        raise Refused(f"unknown aggregation {how!r}: send {', '.join(AGGREGATIONS)}")
    texts, labels = columns["text"], settings["labels"]

    def answer(rows, tokens):
        each = [activation(row.astype(np.float32)) for row in rows]
        scores = np.zeros((len(rows), max(map(len, rows)), len(labels)), dtype=np.float32)
        found = np.empty((len(rows), 1), dtype=np.object_)
        for at, (text, row, one) in enumerate(zip(texts, each, tokens, strict=True)):
            scores[at, : len(row)] = row
            found[at, 0] = json.dumps(entities(text, row, one, labels, how)).encode()
        return {"entities": found, "scores": scores, "token_count": _counts(tokens)}

    return Work(texts, _truncate(settings, asked), answer)


def _activation(settings, asked):
    raw = asked.get("raw_scores", False)
    if not isinstance(raw, bool):
        raise Refused(f"raw_scores {raw!r} is not true or false")
    return _ACTIVATIONS["identity" if raw else settings["activation"]]


def _truncate(settings, asked):
    given = asked.get("truncate") or settings["truncate"]
    chosen = str(given).upper()
    if chosen not in TRUNCATE:
        raise Refused(f"unknown truncate {given!r}: send NONE, END or START")
    return chosen


def _counts(tokens):
    return _column([len(one.ids) for one in tokens], np.int32)


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
_HEADS = {
    "dense": _dense, "sparse": _sparse, "multi-vector": _multi_vector, "score": _score,
    "labels": _labels, "token-labels": _token_labels,
}  # fmt: skip
