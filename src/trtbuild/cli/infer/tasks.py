"""How ``infer`` and ``up`` print answers of tasks other than generated text."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import singledispatch
from typing import TYPE_CHECKING, Any

import typer

from trtbuild.signature.requests import ClassifyAnswer, EmbedAnswer, RerankAnswer

if TYPE_CHECKING:
    from trtbuild.signature.requests import TaskAnswer, TaskRequest

_SHOWN_NUMBERS = 4
_SHOWN_LABELS = 5
_SHOWN_TEXT = 60


def report_task(request: TaskRequest, answer: TaskAnswer, seconds: float, *, as_json: bool) -> None:
    """Print an answer: as JSON, or in a few lines with the time behind them."""
    from trtbuild.cli.output import print_json

    if as_json:
        print_json({**facts(answer), "seconds": seconds})
        return
    for line in _lines(answer, request):
        typer.echo(line)
    counts = getattr(answer, "token_counts", ())
    notes = [f"{sum(counts)} tokens"] if counts else []
    typer.secho(" · ".join([*notes, f"{seconds * 1000:.0f} ms"]), err=True, dim=True)


@singledispatch
def facts(answer: Any) -> dict[str, Any]:
    """An answer as JSON has it."""
    raise TypeError(type(answer))


@facts.register
def _(answer: EmbedAnswer) -> dict[str, Any]:
    (vector,) = answer.vectors
    tokens = answer.token_counts[0] if answer.token_counts else None
    return {"embedding": list(vector), "dimensions": len(vector), "tokens": tokens}


@facts.register
def _(answer: RerankAnswer) -> dict[str, Any]:
    rows = [{"index": one.index, "score": one.score, "logit": one.logit} for one in answer.results]
    return {"results": rows, "tokens": sum(answer.token_counts) or None}


@facts.register
def _(answer: ClassifyAnswer) -> dict[str, Any]:
    (one,) = answer.results
    return {"label": one.label, "scores": dict(one.scores)}


@singledispatch
def _lines(answer: Any, _request: Any) -> Iterator[str]:
    raise TypeError(type(answer))


@_lines.register
def _(answer: EmbedAnswer, _request: Any) -> Iterator[str]:
    (vector,) = answer.vectors
    begin = " ".join(f"{number:.4f}" for number in vector[:_SHOWN_NUMBERS])
    more = " …" if len(vector) > _SHOWN_NUMBERS else ""
    yield f"{len(vector)} numbers, length {math.hypot(*vector):.4f}: {begin}{more}"


@_lines.register
def _(answer: RerankAnswer, request: Any) -> Iterator[str]:
    for one in answer.results:
        text = " ".join(request.documents[one.index].split())
        short = f"{text[: _SHOWN_TEXT - 1]}…" if len(text) > _SHOWN_TEXT else text
        yield f"{one.score:9.4f}  [{one.index}] {short}"


@_lines.register
def _(answer: ClassifyAnswer, _request: Any) -> Iterator[str]:
    (one,) = answer.results
    best = sorted(one.scores.items(), key=lambda row: (row[0] != one.label, -row[1]))
    for label, score in best[:_SHOWN_LABELS]:
        yield f"{score:9.4f}  {label}"
    if len(best) > _SHOWN_LABELS:
        yield f"           … and {len(best) - _SHOWN_LABELS} more labels (--json has all)"
