"""The reference answers that a conversion stores with a model, compared with live ones.

The tolerances allow for a GPU's rounding but not for wrong pooling, a missing prompt or another
checkpoint.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trtbuild.client.llm import LLMClient
from trtbuild.client.transport import Protocol
from trtbuild.errors import ServerError
from trtbuild.signature import ServedModel, ServedTask
from trtbuild.signature.requests import (
    ClassifyAnswer,
    ClassifyRequest,
    EmbedAnswer,
    EmbedRequest,
    RerankAnswer,
    RerankRequest,
)

FILE = "reference.json"
_ASKED = 8  # rows, spread over all uses
_COSINE, _LOGIT = 0.999, 0.02


def require_reference(
    url: str,
    models: Mapping[str, ServedModel],
    repository: Path,
    *,
    protocol: Protocol = "grpc",
) -> tuple[str, ...]:
    """Compare answers with the stored ones; return the models that were compared.

    Raises:
        ServerError: A model gives different answers, or none.
    """
    found = []
    with LLMClient(url, protocol, models.get) as client:
        for name, model in models.items():
            rows = _kept(repository / name)
            for row in rows:
                _require(client, model, row)
            found += [name] if rows else []
    return tuple(found)


def _kept(folder: Path) -> list[Mapping[str, Any]]:
    """Return rows of the newest version's file, some for every use; empty without a file."""
    versions = sorted((int(p.parent.name), p) for p in folder.glob(f"[0-9]*/{FILE}"))
    if not versions:
        return []
    path = versions[-1][1]
    try:
        rows = json.loads(path.read_bytes())["kept"]
        return list(rows[:: max(1, len(rows) // _ASKED)])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise ServerError(
            f"{path.name} of {folder.name} cannot be read",
            where=str(path),
            fix="convert the model again with --force",
        ) from None


def _require(client: LLMClient, model: ServedModel, row: Mapping[str, Any]) -> None:
    numbers = _asked(client, model, row)
    wanted = [float(number) for number in row["row"]]
    if numbers is None or _agree(model.task, numbers, wanted):
        return
    near = _cosine(numbers, wanted) if len(numbers) == len(wanted) else 0.0
    raise ServerError(
        f"{model.name!r} does not answer as its reference does: cosine {near:.4f} for "
        f"{str(row['item'])[:40]!r}",
        where=f"{model.name}/1/{FILE}",
        fix="its files were changed, or another model is served under its name: convert it again "
        "with --force",
    )


def _asked(client: LLMClient, model: ServedModel, row: Mapping[str, Any]) -> Sequence[float] | None:
    """Return what the model answers now; None for a task without reference answers."""
    item = row["item"]
    if model.task is ServedTask.EMBED:
        use = str(row.get("input_type", ""))
        embedded = client.ask(model.name, EmbedRequest((item,), input_type=use))
        return embedded.vectors[0] if isinstance(embedded, EmbedAnswer) else None
    if model.task is ServedTask.RERANK:
        ranked = client.ask(model.name, RerankRequest(item[0], (item[1],)))
        logit = ranked.results[0].logit if isinstance(ranked, RerankAnswer) else None
        return None if logit is None else [logit]
    if model.task is ServedTask.CLASSIFY:
        labelled = client.ask(model.name, ClassifyRequest((item,), raw_scores=True))
        if isinstance(labelled, ClassifyAnswer):
            return list(labelled.results[0].scores.values())
    return None


def _agree(task: ServedTask, numbers: Sequence[float], wanted: Sequence[float]) -> bool:
    if len(numbers) != len(wanted):
        return False
    if task is ServedTask.EMBED:
        return _cosine(numbers, wanted) >= _COSINE
    return all(abs(a - b) <= _LOGIT * max(1, abs(b)) for a, b in zip(numbers, wanted, strict=True))


def _cosine(one: Iterable[float], other: Iterable[float]) -> float:
    a, b = list(one), list(other)
    size = math.hypot(*a) * math.hypot(*b)
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / size if size else float(a == b)
