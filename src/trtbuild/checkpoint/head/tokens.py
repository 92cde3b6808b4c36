"""Heads that make several vectors of a text, or a sparse one.

Sources: sentence-transformers 6.2.0 (``sparse_encoder/modules/splade_pooling.py``,
``multi_vector_encoder``), PyLate 1.3 and Stanford's ColBERT for their files.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from trtbuild.checkpoint import families
from trtbuild.checkpoint.fields import Fields
from trtbuild.checkpoint.head.files import SentenceFiles, module_config
from trtbuild.checkpoint.head.vectors import dense_layers
from trtbuild.checkpoint.model import Checkpoint
from trtbuild.checkpoint.problems import Problems
from trtbuild.modelspec import DenseLayer, Head, HeadKind

_STRATEGIES = ("max", "sum")
_ACTIVATIONS = ("relu", "log1p_relu")
_QUERY_TOKENS = 32  # ColBERT's default for queries
_PROJECTION = "linear.weight"  # files of a ColBERT checkpoint besides the body's


def sparse_head(
    checkpoint: Checkpoint, fields: Fields, files: SentenceFiles, problems: Problems
) -> Head:
    """Return a SPLADE head: maximum or sum over all tokens of log(1 + activation(logits))."""
    config: Mapping[str, Any] = {}
    for module in files.of_kind("SpladePooling"):
        config = module_config(checkpoint, module) or {}
    pooling = config.get("pooling_strategy", "max")
    activation = config.get("activation_function", "relu")
    for key, value, known in (
        ("pooling_strategy", pooling, _STRATEGIES),
        ("activation_function", activation, _ACTIVATIONS),
    ):
        if value not in known:
            problems.add(
                f"SpladePooling has the {key} {value!r}", f"known are {' and '.join(known)}"
            )
    return Head(
        HeadKind.SPARSE,
        pooling=(str(pooling),),
        activation=str(activation),
        dimension=fields.number(families.VOCAB),
        similarity="dot",
    )


def multi_vector_head(
    checkpoint: Checkpoint, fields: Fields, files: SentenceFiles, problems: Problems
) -> Head:
    """Return a multi-vector head: a unit vector per token, compared by maximum similarities."""
    width = fields.number(families.HIDDEN)
    layers = dense_layers(checkpoint, files, width, problems)
    projection = checkpoint.tensors.get(_PROJECTION)
    if not files.modules and projection is not None and len(projection.shape) == 2:
        outputs, inputs = projection.shape
        layers = (DenseLayer("", inputs, outputs, bias=False, activation="identity"),)
    head = Head(
        HeadKind.MULTI_VECTOR,
        layers=layers,
        normalized=True,
        dimension=layers[-1].outputs if layers else width,
        similarity="maxsim",
    )
    if fields.architecture == "HF_ColBERT":
        return _by_stanford(head, files.colbert)
    if files.model_type == "ColBERT":
        return _by_pylate(head, files.settings)
    return _by_sentence_transformers(checkpoint, head, files)


def _by_stanford(head: Head, says: Mapping[str, Any]) -> Head:
    """Read ``artifact.metadata``; without it, use its defaults."""
    marks = {"query": ("query_token_id", "[unused0]"), "document": ("doc_token_id", "[unused1]")}
    return replace(
        head,
        prompts={use: f"{says.get(key) or mark} " for use, (key, mark) in marks.items()},
        query_tokens=_count(says, "query_maxlen") or _QUERY_TOKENS,
        document_tokens=_count(says, "doc_maxlen"),
        query_expansion=_expansion(says.get("attend_to_mask_tokens")),
        skip_words=() if says.get("mask_punctuation") is False else tuple(string.punctuation),
    )


def _by_pylate(head: Head, says: Mapping[str, Any]) -> Head:
    """Read ``config_sentence_transformers.json`` of PyLate up to 3."""
    marks = {use: says.get(f"{use}_prefix") for use in ("query", "document")}
    attends = says.get("attend_to_expansion_tokens", says.get("attend_to_mask_tokens"))
    skipped = says.get("skiplist_words")
    return replace(
        head,
        prompts={use: mark for use, mark in marks.items() if isinstance(mark, str)},
        query_tokens=_count(says, "query_length") or _QUERY_TOKENS,
        document_tokens=_count(says, "document_length"),
        query_expansion="" if says.get("do_query_expansion") is False else _expansion(attends),
        skip_words=_words(string.punctuation if skipped is None else skipped),
    )


def _by_sentence_transformers(checkpoint: Checkpoint, head: Head, files: SentenceFiles) -> Head:
    """Read the configurations of the modules."""
    expansion = files.transformer.get("query_expansion")
    expansion = expansion if isinstance(expansion, dict) else {}
    masks = (module_config(checkpoint, mask) or {} for mask in files.of_kind("MultiVectorMask"))
    return replace(
        head,
        normalized=bool(files.of_kind("Normalize")),
        query_tokens=_count(expansion, "length") or _count(files.transformer, "query_length"),
        document_tokens=_count(files.transformer, "document_length"),
        query_expansion=_expansion(expansion.get("attend")) if expansion else "",
        skip_words=_words(next(masks, {}).get("skiplist_words")),
    )


def _expansion(attends: object) -> Literal["masked", "attended"]:
    return "attended" if attends is True else "masked"


def _words(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list | str) else ()


def _count(says: Mapping[str, Any], key: str) -> int:
    value = says.get(key)
    return value if type(value) is int and value > 0 else 0
