"""The settings of a served text model: ``1/settings.json``, which its ``model.py`` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from trtbuild.builder import Case
from trtbuild.modelspec import Head, HeadKind, Task
from trtbuild.toolchain import EngineArgument

DEFAULTS: Mapping[str, Any] = {
    "check": True,
    "instances": 1,
    "max_batch_size": 256,
    "max_queue_delay_microseconds": 100,
    "token_budget": 4096,
    "truncate": "",
}
MEANINGS = {
    "check": "compare the answers with the reference, and write nothing when they differ",
    "instances": "processes that tokenize and batch",
    "max_batch_size": "texts in one request, and of several requests together",
    "max_queue_delay_microseconds": "wait for more requests to batch",
    "token_budget": "tokens of one batch, padding included; GPUs like 16384",
    "truncate": "of a text beyond the model's length, where a request does not say; empty: as the "
    "reference does",
}
SIDES = {"right": "END", "left": "START"}
"""The parameter ``truncate`` by the end at which the reference cuts."""


def arguments(
    defaults: Mapping[str, Any],
    positive: Sequence[str],
    choices: Mapping[str, tuple[str, ...]] | None = None,
) -> Mapping[str, EngineArgument]:
    """Return what ``--set`` takes, by name, with the types of the defaults."""
    chosen = {"truncate": ("", "NONE", "END", "START"), **(choices or {})}
    return {
        name: EngineArgument(
            name,
            (type(value).__name__,),
            default=value,
            has_default=True,
            choices=chosen.get(name, ()),
            minimum=1 if name in positive else 0 if type(value) is int else None,
        )
        for name, value in sorted(defaults.items())
    }


def argument_rows(
    known: Mapping[str, EngineArgument], meanings: Mapping[str, str]
) -> Sequence[Mapping[str, Any]]:
    """Return the rows of :meth:`trtbuild.builder.Builder.arguments`."""
    rows = []
    for name, row in known.items():
        said: dict[str, Any] = {"name": name, "types": row.types, "choices": row.choices}
        said |= {"default": row.default, "has_default": True, "meaning": meanings[name]}
        rows.append(said | ({} if row.minimum is None else {"minimum": row.minimum}))
    return rows


def head_of(case: Case) -> Head:
    """Return the model's head, as far as its files define it."""
    kind = {Task.RERANK: HeadKind.SCORE, Task.CLASSIFY: HeadKind.LABELS}.get(case.spec.task)
    return case.spec.head or Head(kind or HeadKind.DENSE, max_tokens=case.spec.context_length)


def head_settings(case: Case, chosen: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that the served model needs to know of its checkpoint.

    Args:
        case: The model to build.
        chosen: The recipe's settings, with defaults.
        own: Settings of the builder itself, placed after the head.
    """
    spec, head = case.spec, head_of(case)
    first = {"head": head.kind.value, "inputs": _inputs(case, head)}
    order = ("head", "core", "inputs", "output", "pooling")
    given = {**first, **own}
    return {
        **{key: given.pop(key) for key in order if key in given},
        **given,
        "max_tokens": head.max_tokens,
        "lower": head.lower_case,
        # Of the graph: whatever side the reference pads, positions count from the left here.
        "padding_side": "right",
        "truncate": chosen["truncate"] or SIDES[head.truncation_side],
        "truncation": head.truncation,
        "token_budget": chosen["token_budget"],
        "prompts": dict(head.prompts),
        "default_prompt": head.default_prompt,
        "include_prompt": head.include_prompt,
        "dimension": head.dimension,
        "truncate_dimension": head.truncate_dimension,
        "matryoshka": list(head.matryoshka) or ("any" if head.is_matryoshka else []),
        "normalized": head.normalized,
        "query_tokens": head.query_tokens,
        "document_tokens": head.document_tokens,
        "query_expansion": head.query_expansion,
        "expansion_id": expansion_id(case),
        "skip_words": list(head.skip_words),
        "append": list(spec.eos_token_ids[:1]) if head.append_eos else [],
        "pair_template": head.pair_template,
        "template_is_whole": bool(head.score_tokens),
        "labels": list(head.labels),
        "activation": head.activation,
    }


def graph(head: Head) -> dict[str, Any]:
    """Return what the exported graph computes after the model's body."""
    return {
        "pooling": list(head.pooling),
        "normalize": head.normalized,
        "activation": head.activation,
        "modular": is_modular(head),
        "score_words": list(head.score_words),
        "score_tokens": list(head.score_tokens),
        "dense": [
            {
                "path": layer.directory,
                "inputs": layer.inputs,
                "outputs": layer.outputs,
                "bias": layer.bias,
                "activation": layer.activation,
                "residual": layer.residual,
            }
            for layer in head.layers
        ],
    }


def reference_settings(head: Head) -> dict[str, Any]:
    """Return what only the reference of the comparison needs."""
    return {
        # The reference truncates too.
        "truncate": SIDES[head.truncation_side],
        "score_words": list(head.score_words),
        "modular": is_modular(head) or bool(head.score_tokens),
    }


def is_modular(head: Head) -> bool:
    """Whether a score is computed by sentence-transformers' modules behind a plain body."""
    return head.kind in (HeadKind.SCORE, HeadKind.LABELS) and bool(head.layers)


def expansion_id(case: Case) -> int | None:
    """Return the mask token, with which short queries of a multi-vector model are filled."""
    if not head_of(case).query_expansion or case.checkpoint is None:
        return None
    raw = case.checkpoint.read_bytes("tokenizer.json")
    words = json.loads(raw).get("added_tokens", []) if raw else []
    marks = {word["content"]: word["id"] for word in words if isinstance(word, dict)}
    return next((marks[name] for name in ("[MASK]", "<mask>") if name in marks), None)


def dump(value: Mapping[str, Any]) -> bytes:
    """Return the settings as stored in the repository."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _inputs(case: Case, head: Head) -> dict[str, int]:
    """Return the graph's inputs with their padding values.

    The export adds token types if the reference's tokenizer returns them.
    """
    inputs = {"input_ids": case.spec.pad_token_id or 0, "attention_mask": 0}
    if not head.include_prompt:
        inputs["pooling_mask"] = 0
    return inputs
