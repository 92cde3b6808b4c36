"""How ``trtbuild inspect`` prints a head."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from trtbuild.modelspec import HeadKind

if TYPE_CHECKING:
    from trtbuild.checkpoint import Checkpoint
    from trtbuild.modelspec import DenseLayer, Head, ModelSpec

_SHOWN_LABELS = 8
_VECTORS = (HeadKind.DENSE, HeadKind.SPARSE, HeadKind.MULTI_VECTOR)


def head_rows(_: Checkpoint, spec: ModelSpec) -> Iterator[tuple[str, str]]:
    """Label and text of every row; none for a model without a head."""
    head = spec.head
    if head is None:
        return
    yield "head", _summary(head)
    if head.pooling:
        without = "" if head.include_prompt else ", without the prompt's tokens"
        yield "pooling", " + ".join(head.pooling) + without
    for layer in head.layers:
        yield "dense layer", _layer(layer)
    if head.kind not in _VECTORS:
        yield "activation", head.activation
    if head.labels:
        shown = ", ".join(map(_printable, head.labels[:_SHOWN_LABELS]))
        more = len(head.labels) - _SHOWN_LABELS
        yield "labels", shown + (f" and {more:,} more" if more > 0 else "")
    yield from _vectors(head)
    yield from _words(head)


def _summary(head: Head) -> str:
    if head.kind not in _VECTORS:
        many = f", {len(head.labels):,} labels" if head.labels else ""
        return head.kind.value + many
    length = ", normalized" if head.normalized else ""
    return f"{head.kind.value}, {head.dimension:,} dimensions{length}"


def _printable(text: str) -> str:
    """Without what would move the cursor or change a terminal's colours."""
    return text if text.isprintable() else repr(text)


def _layer(layer: DenseLayer) -> str:
    bias = "" if layer.bias else ", no bias"
    residual = ", with its input added" if layer.residual else ""
    return f"{layer.inputs:,} → {layer.outputs:,}, {layer.activation}{bias}{residual}"


def _vectors(head: Head) -> Iterator[tuple[str, str]]:
    if head.is_matryoshka:
        sizes = ", ".join(f"{size:,}" for size in head.matryoshka) or "any"
        yield "dimensions", f"{sizes} (Matryoshka)"
    if head.truncate_dimension:
        yield "cut to", f"{head.truncate_dimension:,} numbers"
    if head.similarity:
        yield "similarity", head.similarity


def _words(head: Head) -> Iterator[tuple[str, str]]:
    """Prompts and tokens."""
    for name, text in head.prompts.items() if any(head.prompts.values()) else ():
        default = " (default)" if name == head.default_prompt else ""
        yield "prompt", f"{name}: {text!r}{default}"
    if head.max_tokens:
        yield "longest text", f"{head.max_tokens:,} tokens, then cut on the {head.truncation_side}"
    if head.lower_case:
        yield "lower case", "yes"
    if head.padding_side == "left":
        yield "padding", "left"
    if head.append_eos:
        yield "appended", "the end-of-text token"
    if head.query_tokens or head.document_tokens:
        fill = ", filled up with the mask token" if head.query_expansion else " at most"
        yield "query", f"{head.query_tokens:,} tokens{fill}"
        yield "document", f"{head.document_tokens or head.max_tokens:,} tokens at most"
    deciding = tuple(map(repr, head.score_words)) or tuple(map(str, head.score_tokens))
    if deciding:
        what = "" if head.score_words else "token "
        yield "score", f"the logit of {what}{' against '.join(deciding)}"
    if head.pair_template:
        first = head.pair_template.splitlines()[0]
        yield "pair", f"a template that begins {first!r}"
