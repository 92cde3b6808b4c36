"""The reference answers that a conversion stores with a model, compared with live ones.

The tolerances allow for a GPU's rounding but not for wrong pooling, a missing prompt or another
checkpoint.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from functools import singledispatch
from pathlib import Path
from typing import Any

from trtbuild.client.llm import LLMClient
from trtbuild.errors import ServerError
from trtbuild.signature import ServedModel, ServedTask
from trtbuild.signature.requests import (
    ClassifyAnswer,
    ClassifyRequest,
    EmbedAnswer,
    EmbedRequest,
    ImageClassifyRequest,
    MultiVectorAnswer,
    ScoreAnswer,
    ScoreRequest,
    SparseAnswer,
    TaskRequest,
    TokenClassifyAnswer,
    TokenClassifyRequest,
    TranscribeAnswer,
    TranscribeRequest,
)

FILE = "reference.json"
_ASKED = 8  # rows, spread over all uses
_COSINE, _LOGIT = 0.999, 0.02
# Of int8 graphs: how activations are rounded depends on the CPU and on ONNX Runtime's version.
_INT8_COSINE, _INT8_LOGIT = 0.98, 0.2
_SAME_TEXT = 0.9  # of the characters of a transcription


class DiffersError(ServerError):
    """A model gives other answers than its reference."""


def require_reference(
    url: str, models: Mapping[str, ServedModel], repository: Path
) -> tuple[str, ...]:
    """Compare answers with the stored ones; return the models that were compared.

    Raises:
        ServerError: A model gives different answers, or none.
    """
    with LLMClient(url, "grpc", models.get) as client:
        return tuple(
            name for name, model in models.items() if require_answers(client, model, repository)
        )


def require_answers(client: LLMClient, model: ServedModel, repository: Path) -> bool:
    """Compare one model's answers with the stored ones; return whether there are any.

    Raises:
        DiffersError: An answer is different.
        ServerError: There is no answer.
    """
    rows = _kept(repository / model.name)
    for row in rows:
        _require(client, model, row)
    return bool(rows)


def _kept(folder: Path) -> list[Mapping[str, Any]]:
    """Return rows of the newest version's file, some for every use; empty without a file."""
    versions = sorted((int(p.parent.name), p) for p in folder.glob(f"[0-9]*/{FILE}"))
    if not versions:
        return []
    path = versions[-1][1]
    try:
        report = json.loads(path.read_bytes())
        rows = report["kept"]
        int8 = not {"max_abs", "cosine"} & report.get("limits", {"cosine": 1}).keys()
        return [row | {"int8": int8} for row in rows[:: max(1, len(rows) // _ASKED)]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise ServerError(
            f"{path.name} of {folder.name} cannot be read",
            where=str(path),
            fix="convert the model again with --force",
        ) from None


def _require(client: LLMClient, model: ServedModel, row: Mapping[str, Any]) -> None:
    if "text" in row:
        problem = _other_text(client, model, row)
    else:
        numbers = live_numbers(client, model, row)
        wanted = [float(number) for number in row["row"]]
        same = numbers is None or _agree(model.task, numbers, wanted, row.get("int8"))
        problem = "" if same or numbers is None else _difference(numbers, wanted)
    if not problem:
        return
    raise DiffersError(
        f"{model.name!r} does not answer as its reference does: {problem} for "
        f"{str(row['item'])[:40]!r}",
        where=f"{model.name}/1/{FILE}",
        fix="its files were changed, or another model is served under its name: convert it again "
        "with --force",
    )


def _other_text(client: LLMClient, model: ServedModel, row: Mapping[str, Any]) -> str:
    """Return how a recording's text differs from the reference's; empty if it hardly does."""
    answer = client.ask(model.name, TranscribeRequest((str(row["item"]),)))
    found = answer.results[0].text if isinstance(answer, TranscribeAnswer) else ""
    wanted = str(row["text"])
    same = SequenceMatcher(None, found, wanted, autojunk=False).ratio() >= _SAME_TEXT
    return "" if same else f"{found[:40]!r} instead of {wanted[:40]!r}"


def _difference(numbers: Sequence[float], wanted: Sequence[float]) -> str:
    if len(numbers) != len(wanted):
        return f"{len(numbers)} numbers instead of {len(wanted)}"
    pairs = zip(numbers, wanted, strict=True)
    largest = max((abs(a - b) for a, b in pairs), default=0.0)
    return f"cosine {_cosine(numbers, wanted):.4f}, largest difference {largest:.2g}"


def live_numbers(
    client: LLMClient, model: ServedModel, row: Mapping[str, Any], others: Iterable[Any] = ()
) -> Sequence[float] | None:
    """Return what the model answers now, flat as in the file; None for a task without numbers.

    Args:
        client: For the server.
        model: As it is served.
        row: Of a reference file.
        others: Items to send in the same request, behind that of the row.
    """
    request = _request(model.task, row, others)
    if request is None:
        return None
    return _numbers(client.ask(model.name, request), len(row["row"]))


def _request(task: ServedTask, row: Mapping[str, Any], others: Iterable[Any]) -> TaskRequest | None:
    items: Any = tuple(
        tuple(item) if isinstance(item, list) else item for item in (row["item"], *others)
    )
    if task.makes_vectors:
        return EmbedRequest(items, input_type=str(row.get("input_type", "")))
    if task in (ServedTask.RERANK, ServedTask.SCORE):
        return ScoreRequest(items)
    if task is ServedTask.CLASSIFY:
        return ClassifyRequest(items, raw_scores=True)
    if task is ServedTask.IMAGE_CLASSIFY:
        return ImageClassifyRequest(items, raw_scores=True)
    if task is ServedTask.TOKEN_CLASSIFY:
        return TokenClassifyRequest(items, raw_scores=True)
    return None


@singledispatch
def _numbers(_answer: Any, _size: int) -> Sequence[float] | None:
    """Return the numbers of an answer as the reference has them: flat, ``size`` of them."""
    return None


@_numbers.register
def _(answer: EmbedAnswer, _size: int) -> Sequence[float]:
    return answer.vectors[0]


@_numbers.register
def _(answer: SparseAnswer, size: int) -> Sequence[float]:
    weights = answer.vectors[0]
    return [weights.get(at, 0.0) for at in range(max(size, *(at + 1 for at in (*weights, 0))))]


@_numbers.register
def _(answer: MultiVectorAnswer, _size: int) -> Sequence[float]:
    return [number for vector in answer.vectors[0] for number in vector]


@_numbers.register
def _(answer: ScoreAnswer, _size: int) -> Sequence[float] | None:
    logit = answer.results[0].logit
    return None if logit is None else [logit]


@_numbers.register
def _(answer: ClassifyAnswer, _size: int) -> Sequence[float]:
    return list(answer.results[0].scores.values())


@_numbers.register
def _(answer: TokenClassifyAnswer, _size: int) -> Sequence[float]:
    return [score for token in answer.scores[0] for score in token] if answer.scores else ()


def _agree(
    task: ServedTask, numbers: Sequence[float], wanted: Sequence[float], int8: object
) -> bool:
    if len(numbers) != len(wanted):
        return False
    if task.makes_vectors:
        return _cosine(numbers, wanted) >= (_INT8_COSINE if int8 else _COSINE)
    apart = _INT8_LOGIT if int8 else _LOGIT
    return all(abs(a - b) <= apart * max(1, abs(b)) for a, b in zip(numbers, wanted, strict=True))


def _cosine(one: Iterable[float], other: Iterable[float]) -> float:
    a, b = list(one), list(other)
    size = math.hypot(*a) * math.hypot(*b)
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / size if size else float(a == b)
