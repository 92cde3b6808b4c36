"""How ``infer`` and ``up`` print answers of tasks other than generated text."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Iterator
from functools import singledispatch
from typing import TYPE_CHECKING, Any

import typer

from trtbuild.client import Answer
from trtbuild.signature.requests import (
    ClassifyAnswer,
    EmbedAnswer,
    MultiVectorAnswer,
    RerankAnswer,
    ScoreAnswer,
    SparseAnswer,
    TokenClassifyAnswer,
    TranscribeAnswer,
)

if TYPE_CHECKING:
    from trtbuild.signature.requests import TaskAnswer, TaskRequest

_SHOWN_NUMBERS = 4
_SHOWN_LABELS = 5
_SHOWN_TEXT = 60

Json = dict[str, Any]


def report_task(
    request: TaskRequest, answer: TaskAnswer, seconds: float, *, as_json: bool, kind: str = ""
) -> None:
    """Print an answer to one item: as JSON, or in a few lines with the time behind them.

    ``kind``: ``base64`` for vectors in that spelling.
    """
    from trtbuild.cli.output import print_json

    if as_json:
        print_json({**facts(answer, kind), "seconds": seconds})
        return
    for lines in shown(answer, request):
        for line in lines:
            typer.echo(line)
    counts = answer.token_counts
    notes = [f"{sum(counts)} tokens"] if counts else []
    typer.secho(" · ".join([*notes, f"{seconds * 1000:.0f} ms"]), err=True, dim=True)


def facts(answer: TaskAnswer, kind: str = "") -> Json:
    """An answer to one item as JSON has it."""
    (row,) = rows(answer, kind)
    return row


def rows(answer: Any, kind: str = "") -> list[Json]:
    """An answer as JSON has it, an object for each item."""
    found = list(_rows(answer))
    if kind == "base64":
        found = [{**row, "embedding": _base64(row["embedding"])} for row in found]
    if isinstance(answer, RerankAnswer | Answer):
        return found
    counts = answer.token_counts or [None] * len(found)
    return [{**row, "tokens": tokens} for row, tokens in zip(found, counts, strict=True)]


def _base64(vector: list[float]) -> str:
    """As OpenAI's ``encoding_format``: float32, little-endian."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


@singledispatch
def _rows(answer: Any) -> Iterator[Json]:
    raise TypeError(type(answer))


@_rows.register
def _(answer: Answer) -> Iterator[Json]:
    yield {
        "text": answer.text,
        "finish_reason": answer.finish_reason,
        "input_tokens": answer.input_tokens,
        "output_tokens": answer.output_tokens,
        **({"logprobs": list(answer.logprobs)} if answer.logprobs else {}),
        **({"prompt_logprobs": list(answer.prompt_logprobs)} if answer.prompt_logprobs else {}),
    }


@_rows.register
def _(answer: EmbedAnswer) -> Iterator[Json]:
    for vector in answer.vectors:
        yield {"embedding": list(vector), "dimensions": len(vector)}


@_rows.register
def _(answer: SparseAnswer) -> Iterator[Json]:
    for weights in answer.vectors:
        yield {"indices": list(weights), "values": list(weights.values())}


@_rows.register
def _(answer: MultiVectorAnswer) -> Iterator[Json]:
    for vectors in answer.vectors:
        yield {"embeddings": [list(one) for one in vectors], "vectors": len(vectors)}


@_rows.register
def _(answer: RerankAnswer) -> Iterator[Json]:
    found = [{"index": one.index, "score": one.score, "logit": one.logit} for one in answer.results]
    yield {"results": found, "tokens": sum(answer.token_counts) or None}


@_rows.register
def _(answer: ScoreAnswer) -> Iterator[Json]:
    for one in answer.results:
        yield {"score": one.score, "logit": one.logit}


@_rows.register
def _(answer: ClassifyAnswer) -> Iterator[Json]:
    for one in answer.results:
        yield {"label": one.label, "scores": dict(one.scores)}


@_rows.register
def _(answer: TokenClassifyAnswer) -> Iterator[Json]:
    for entities in answer.results:
        yield {"entities": [one._asdict() for one in entities]}


@_rows.register
def _(answer: TranscribeAnswer) -> Iterator[Json]:
    for one in answer.results:
        parts = {"segments": [part._asdict() for part in one.segments]} if one.segments else {}
        yield {
            "text": one.text,
            "language": one.language or None,
            "duration": one.seconds,
            **parts,
        }


@singledispatch
def shown(answer: Any, _request: Any) -> Iterator[list[str]]:
    """The lines for people, for each item."""
    raise TypeError(type(answer))


@shown.register
def _(answer: Answer, _request: Any) -> Iterator[list[str]]:
    yield [answer.text]


@shown.register
def _(answer: EmbedAnswer, _request: Any) -> Iterator[list[str]]:
    for vector in answer.vectors:
        begin = " ".join(f"{number:.4f}" for number in vector[:_SHOWN_NUMBERS])
        more = " …" if len(vector) > _SHOWN_NUMBERS else ""
        yield [f"{len(vector)} numbers, length {math.hypot(*vector):.4f}: {begin}{more}"]


@shown.register
def _(answer: SparseAnswer, _request: Any) -> Iterator[list[str]]:
    for weights in answer.vectors:
        best = sorted(weights.items(), key=lambda row: -row[1])[:_SHOWN_NUMBERS]
        begin = " ".join(f"{index}:{value:.4f}" for index, value in best)
        yield [f"{len(weights)} weights{': ' if best else ''}{begin}" + " …" * (len(weights) > 4)]


@shown.register
def _(answer: MultiVectorAnswer, _request: Any) -> Iterator[list[str]]:
    for vectors in answer.vectors:
        yield [f"{len(vectors)} vectors of {len(vectors[0]) if vectors else 0} numbers"]


@shown.register
def _(answer: RerankAnswer, request: Any) -> Iterator[list[str]]:
    yield [
        f"{one.score:9.4f}  [{one.index}] {_short(request.documents[one.index])}"
        for one in answer.results
    ]


@shown.register
def _(answer: ScoreAnswer, _request: Any) -> Iterator[list[str]]:
    for one in answer.results:
        yield [f"{one.score:9.4f}"]


@shown.register
def _(answer: ClassifyAnswer, _request: Any) -> Iterator[list[str]]:
    for one in answer.results:
        best = sorted(one.scores.items(), key=lambda row: (row[0] != one.label, -row[1]))
        lines = [f"{score:9.4f}  {label}" for label, score in best[:_SHOWN_LABELS]]
        if len(best) > _SHOWN_LABELS:
            more = len(best) - _SHOWN_LABELS
            lines.append(f"           … and {more} more labels (--json has all)")
        yield lines


@shown.register
def _(answer: TokenClassifyAnswer, request: Any) -> Iterator[list[str]]:
    for text, entities in zip(request.inputs, answer.results, strict=True):
        yield [
            f"{one.score:9.4f}  {one.label}  {_short(text[one.start : one.end] or one.text)}"
            for one in entities
        ] or ["no entities"]


@shown.register
def _(answer: TranscribeAnswer, _request: Any) -> Iterator[list[str]]:
    for one in answer.results:
        yield [f"{part.start:8.2f} {part.end:8.2f}  {part.text}" for part in one.segments] or [
            one.text
        ]


def _short(text: str) -> str:
    joined = " ".join(text.split())
    return f"{joined[: _SHOWN_TEXT - 1]}…" if len(joined) > _SHOWN_TEXT else joined
