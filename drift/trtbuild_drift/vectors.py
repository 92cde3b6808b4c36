"""Embeddings of texts, from a served model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trtbuild.errors import ServerError, UsageError
from trtbuild.progress import Progress
from trtbuild.signature.requests import EmbedRequest
from trtbuild_batch.engine import (
    CallError,
    Engine,
    Fixed,
    Kind,
    Outcome,
    Policy,
    Receipt,
    StoppedError,
)
from trtbuild_batch.targets import Target, open_target, parse
from trtbuild_batch.targets.grouping import Grouped
from trtbuild_drift.options import Asking
from trtbuild_drift.texts import Window

_TOGETHER = 32  # texts of a request
_REQUESTS = 4  # at a time
_PATIENCE = 60.0  # seconds
PROBES = (
    "The train to the coast leaves at seven in the morning.",
    "def area(radius): return 3.14159 * radius ** 2",
    "Wie kündige ich meinen Vertrag?",
)
"""Their embeddings tell whether a model is the one of the baseline."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a target made: its identity, and the embeddings of :data:`PROBES` (3, dimension)."""

    origin: dict[str, Any]
    probes: NDArray[np.float32]


def embed(window: Window, asking: Asking, progress: Progress) -> Made:
    """Give each text of the window its embedding; texts that the model refuses are left out.

    Raises:
        UsageError: The target cannot be used.
        ServerError: It does not answer, or not with vectors of one dimension.
    """
    address = parse(asking.target, asking.model)
    if not address.model:
        raise UsageError(
            f"nothing says which model of {address.url} makes embeddings",
            fix="name it with --model",
        )
    target = open_target(
        address, timeout=asking.timeout, api_key_env=asking.api_key_env, connections=_REQUESTS
    )
    progress.step(f"{address.model}: embedding texts")
    origin, found = asyncio.run(_Asker(Grouped(target, _TOGETHER), progress).ask(_texts(window)))
    missing = [probe for probe in PROBES if probe not in found]
    if missing or len({len(one) for one in found.values()}) != 1:
        raise ServerError(
            f"{address.model!r} gives no usable embeddings",
            where=f"no vector of {missing[0]!r}" if missing else "their dimensions differ",
            fix="check that it is an embedding model, and that one version of it is served",
        )
    for segment, texts in window.segments.items():
        kept = [replace(one, vector=found[one.text]) for one in texts if one.text in found]
        if len(kept) < len(texts):
            window.left_out["the model refuses the text"] += len(texts) - len(kept)
        window.segments[segment] = kept
    return Made({"model": address.model, **origin}, np.array([found[one] for one in PROBES]))


def _texts(window: Window) -> list[str]:
    """The probes and every different text."""
    texts = (one.text for texts in window.segments.values() for one in texts)
    return list(dict.fromkeys([*PROBES, *texts]))


@dataclass(slots=True)
class _Asker:
    target: Target
    progress: Progress

    async def ask(
        self, texts: Sequence[str]
    ) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
        """Return what identifies the model, and the vectors of the texts that have one."""
        found: dict[str, NDArray[np.float32]] = {}

        def record(text: str, receipt: Receipt) -> None:
            if receipt.outcome is not None:
                found[text] = np.frombuffer(receipt.outcome.output, "<f4")
            self.progress.advance(len(found), len(texts), "texts")

        engine: Engine[str] = Engine(
            self._vector,
            record,
            Fixed(_REQUESTS * _TOGETHER),
            Policy(patience=_PATIENCE),
            self.target.alive,
        )
        try:
            origin = dict(await self.target.open())
            await engine.run(_once(texts))
        except StoppedError as error:
            raise ServerError(
                f"the embedding model stopped answering: {error.reason}",
                where=f"{error.last.kind}: {error.last.message}",
                fix="look at the server's log, then run the command again",
            ) from None
        finally:
            await self.target.close()
        return origin, found

    async def _vector(self, text: str) -> Outcome:
        outcome = await self.target.ask(EmbedRequest((text,)))
        if not np.isfinite(np.frombuffer(outcome.output, "<f4")).all():
            raise CallError(Kind.MALFORMED, "a number is not finite")
        return outcome


async def _once(texts: Sequence[str]) -> AsyncIterator[Sequence[str]]:
    yield texts
