"""The loop: workers take items, call, retry, and record a receipt for each item.

A worker is a task that asks one thing after another; the limiter says how many there are. What a
worker holds, also while it waits to try again, is in flight: no more than that is lost in a crash.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from trtbuild_batch.engine.limiting import Limiter
from trtbuild_batch.engine.model import CallError, Kind, Outcome, Receipt
from trtbuild_batch.engine.retrying import Budget, Policy

Item = TypeVar("Item")

_TOLD = 10  # times as many attempts for an item whose Retry-After was obeyed each time

_ALIVE_TELLS = frozenset({Kind.CONNECTION, Kind.TIMEOUT})


class StoppedError(Exception):
    """The job stopped: going on would only fail.

    Attributes:
        reason: Why, for people.
        last: The last failed call.
    """

    def __init__(self, reason: str, last: CallError) -> None:
        super().__init__(reason)
        self.reason = reason
        self.last = last


async def _nothing() -> bool:
    return False


def _none(_: object) -> int:
    return 0


def _one(_: object) -> int:
    return 1


@dataclass(slots=True)
class Engine(Generic[Item]):
    """Asks about items, several at a time.

    Args:
        ask: Returns the answer about an item, or raises :class:`CallError`.
        record: Is given the receipt of each item, once. What it returns is awaited, and the item is
            in flight until then.
        limiter: How many calls at a time.
        policy: When to try again, and when to stop.
        alive: Whether the target answers anything at all.
        spent: How many of its attempts an item has already used elsewhere.
        requests: How many requests the server gets for an item.
    """

    ask: Callable[[Item], Awaitable[Outcome]]
    record: Callable[[Item, Receipt], Awaitable[None] | None]
    limiter: Limiter
    policy: Policy = field(default_factory=Policy)
    alive: Callable[[], Awaitable[bool]] = _nothing
    spent: Callable[[Item], int] = _none
    requests: Callable[[Item], int] = _one
    retries: int = 0
    answered: int = 0
    asked: int = 0
    _ready: deque[Item] = field(default_factory=deque)
    _source: AsyncIterator[Sequence[Item]] | None = None
    _filling: asyncio.Lock = field(default_factory=asyncio.Lock)
    _over: asyncio.Event = field(default_factory=asyncio.Event)
    _group: asyncio.TaskGroup | None = None
    _workers: int = 0
    _busy: int = 0
    _requests: int = 0
    _silent_since: float = 0.0
    _budget: Budget = field(init=False)
    # jitter is not a secret
    _chance: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self._budget = Budget(self.policy)

    @property
    def in_flight(self) -> int:
        """Items that a worker holds."""
        return self._busy

    @property
    def requests_in_flight(self) -> int:
        """Requests that the server has for those items."""
        return self._requests

    async def run(self, items: AsyncIterator[Sequence[Item]]) -> None:
        """Ask about every item of every batch. Returns when each has its receipt.

        Raises:
            StoppedError: The target fails, or has been away for too long.
        """
        self._source = items
        self._over.clear()
        try:
            async with asyncio.TaskGroup() as self._group:
                self._start()
                await self._over.wait()  # while the limit is zero, there may be no worker
        except BaseExceptionGroup as group:
            raise _first(group) from None

    @property
    def _more(self) -> bool:
        """Whether there are items that no worker holds."""
        return self._source is not None or bool(self._ready)

    def _start(self) -> None:
        """Start workers up to the limit."""
        assert self._group is not None
        if not self._workers:  # our own pause does not count as the target's silence
            self._silent_since = asyncio.get_running_loop().time()
        while self._more and self._workers < self.limiter.limit:
            self._workers += 1
            self._group.create_task(self._work())

    def wake(self) -> None:
        """Start workers after the limit has grown."""
        if self._group is not None and self._more:
            self._start()

    async def _work(self) -> None:
        try:
            while self._workers <= self.limiter.limit:
                if not self._ready and not await self._fill():
                    return
                item = self._ready.popleft()
                count = self.requests(item)
                self._busy += 1
                self._requests += count
                try:
                    receipt = await self._receipt(item)
                    if (recorded := self.record(item, receipt)) is not None:
                        await recorded
                finally:
                    self._busy -= 1
                    self._requests -= count
                if self._workers < self.limiter.limit:
                    self.wake()
        except BaseException:
            self._group = None  # it is ending and takes no more workers
            raise
        finally:
            self._workers -= 1
            if not self._more:
                self._over.set()

    async def _fill(self) -> bool:
        """Take the next batch; False at the end of the items."""
        async with self._filling:
            while not self._ready and self._source is not None:
                try:
                    self._ready.extend(await anext(self._source))
                except StopAsyncIteration:
                    self._source = None
        return bool(self._ready)

    async def _receipt(self, item: Item) -> Receipt:
        now = asyncio.get_running_loop().time
        attempts, tried = self.spent(item), 0
        answered_before = self.answered
        while True:
            answered, begun = self.answered, now()
            self.asked += self.requests(item)
            try:
                outcome = await self.ask(item)
            except CallError as error:
                latency = (now() - begun) * 1e3
                self._failed(error)
                told = error.overloaded and error.retry_after is not None
                at_fault = not told and (self.answered > answered or await self._at_fault(error))
                attempts += at_fault
                self._count(error, at_fault=at_fault)
                tried += 1
                if told and tried >= _TOLD * self.policy.attempts:
                    at_fault = self.answered > answered_before  # the others are not told so
                    attempts = self.policy.attempts if at_fault else attempts
                pause = self.policy.pause(tried, error.retry_after, self._chance)
                if error.final or attempts >= self.policy.attempts:
                    return Receipt(None, tried, latency, error.message, str(error.kind))
            else:
                latency = (now() - begun) * 1e3
                self.answered += 1
                self._silent_since = now()
                self._budget.add(failed=False)
                self.limiter.succeeded(latency)
                return Receipt(outcome, tried + 1, latency)
            self.retries += 1
            await asyncio.sleep(pause)

    async def _at_fault(self, error: CallError) -> bool:
        """Whether the item can be the reason, although nobody else got an answer meanwhile.

        A target that is away or overloaded is the reason. One that answers other questions is not
        away: an item may break every connection, or take longer than the timeout.
        """
        if error.kind in _ALIVE_TELLS:
            return await self.alive()
        return not _away(error)

    def _failed(self, error: CallError) -> None:
        """Count a failed call; StoppedError if it is one too many."""
        if error.fatal:
            raise StoppedError("the target refuses every request", error)
        now = asyncio.get_running_loop().time()
        if error.final:
            self._silent_since = now  # a refusal is an answer
        if error.overloaded:
            self.limiter.overloaded()
        silent = now - self._silent_since
        if silent + (error.retry_after or 0) > self.policy.patience:
            raise StoppedError(f"the target has not answered for {silent:.0f} s", error)

    def _count(self, error: CallError, *, at_fault: bool) -> None:
        """Count a failed call that another reason explains than a missing or busy target."""
        if not _away(error) or (at_fault and error.kind in _ALIVE_TELLS):
            self._budget.add(failed=True)
        if self._budget.spent:
            raise StoppedError(f"{self._budget.counted} failed", error)


def _away(error: CallError) -> bool:
    """Whether the target is missing or overloaded, which patience judges and not the budget."""
    return error.overloaded or error.kind is Kind.CONNECTION


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what stopped the job: the other tasks failed because of it."""
    leaves: list[BaseException] = []
    for one in group.exceptions:
        leaves.append(_first(one) if isinstance(one, BaseExceptionGroup) else one)
    stopped = [one for one in leaves if isinstance(one, StoppedError)]
    return (stopped or leaves)[0]
