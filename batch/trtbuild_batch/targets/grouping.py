"""Several texts in one request: an embedding model computes them together, and a request has a
price of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from trtbuild.signature.requests import EmbedRequest
from trtbuild_batch.asking import Question
from trtbuild_batch.engine import CallError, Outcome
from trtbuild_batch.targets.opening import Target

_SECONDS = 0.003
_Waiting = tuple[EmbedRequest, asyncio.Future[Outcome]]


@dataclass(slots=True)
class Grouped:
    """Collects the texts that are asked about within a few milliseconds.

    The rows of an answered request ask again together, so that small groups soon become large ones.
    A group that is refused is asked about again one by one: one text may be too long.

    Args:
        target: Is asked.
        size: Most texts of a request.
    """

    target: Target
    size: int
    _waiting: list[_Waiting] = field(default_factory=list)
    _timer: asyncio.TimerHandle | None = None
    _sending: set[asyncio.Task[None]] = field(default_factory=set)

    async def open(self) -> Mapping[str, Any]:
        """See :class:`~trtbuild_batch.targets.opening.Target`."""
        return await self.target.open()

    async def alive(self) -> bool:
        """See :class:`~trtbuild_batch.targets.opening.Target`."""
        return await self.target.alive()

    async def close(self) -> None:
        """See :class:`~trtbuild_batch.targets.opening.Target`."""
        for task in self._sending:
            task.cancel()
        await self.target.close()

    async def embed(self, request: EmbedRequest) -> list[Outcome]:
        """See :class:`~trtbuild_batch.targets.opening.Target`."""
        return await self.target.embed(request)

    async def ask(self, question: Question) -> Outcome:
        """See :class:`~trtbuild_batch.targets.opening.Target`."""
        if not isinstance(question, EmbedRequest):
            return await self.target.ask(question)
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Outcome] = loop.create_future()
        self._waiting.append((question, found))
        if len(self._waiting) == 1:
            self._timer = loop.call_later(_SECONDS, self._flush)
        elif len(self._waiting) == self.size:
            self._flush()
        return await found

    def _flush(self) -> None:
        group, self._waiting = self._waiting, []
        if self._timer is not None:
            self._timer.cancel()
        if group:
            task = asyncio.get_running_loop().create_task(self._send(group))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send(self, group: list[_Waiting]) -> None:
        texts = tuple(text for question, _ in group for text in question.inputs)
        try:
            outcomes = await self.target.embed(replace(group[0][0], inputs=texts))
        except CallError as error:
            if error.final and not error.fatal and len(group) > 1:
                await asyncio.gather(*(self._send([one]) for one in group))
                return
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), outcome in zip(group, outcomes, strict=True):
            if not future.done():
                future.set_result(outcome)
