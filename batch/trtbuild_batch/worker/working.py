"""The worker: takes messages, lets the engine ask about them, publishes, acknowledges.

A message is acknowledged after its answer, or its dead letter, is with the broker: killed at any
moment, a worker loses none, and repeats at most those that it held.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

from trtbuild.errors import ServerError
from trtbuild.progress import Progress
from trtbuild_batch.asking import RowError
from trtbuild_batch.engine import CallError, Engine, Kind, Outcome, Policy, Receipt, StoppedError
from trtbuild_batch.jobs.pacing import Pacer
from trtbuild_batch.targets import Target
from trtbuild_batch.worker import requests
from trtbuild_batch.worker.model import LostError, Message, Outgoing, Sink, Source, TooLargeError
from trtbuild_batch.worker.options import WorkerOptions
from trtbuild_batch.worker.tally import Tally

_LOOK_SECONDS = 2.0
_SHOW_SECONDS = 1.0
_ASKED_EVERY = 5  # seconds between questions how long the queue is
_KEPT = 4  # times that a broker hears of our messages, in the time of a lease
_PAUSE, _LONGEST = 0.1, 5.0

_Made = TypeVar("_Made")


@dataclass(slots=True)
class Worker:
    """Works until it is told to stop.

    Args:
        options: How often and how long to try.
        source: Where messages come from.
        answers: Where answers go.
        dead: Where messages without an answer go.
        target: Who answers.
        pace: How many calls at a time.
        progress: Is told about each step.
        watch: Is given the state once a second.
        name: Of the source, for the history of dead letters.
    """

    options: WorkerOptions
    source: Source
    answers: Sink
    dead: Sink
    target: Target
    pace: Pacer
    progress: Progress
    watch: Callable[[Tally], None]
    name: str
    tally: Tally = field(default_factory=Tally)
    _held: set[Message] = field(default_factory=set)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _engine: Engine[Message] = field(init=False)
    _endpoint: str = ""

    def stop(self) -> None:
        """Receive no more messages; finish those that are held."""
        self._stopping.set()

    async def run(self) -> Tally:
        """Work until :meth:`stop`, or until the queue is empty if the options say so.

        Raises:
            UsageError: A queue does not exist.
            ServerError: A broker does not answer at the start, or the target refuses all requests.
        """
        self._endpoint = requests.endpoint_of(self.options.endpoint)
        async with AsyncExitStack() as opened:
            opened.push_async_callback(self.target.close)
            for one in (self.dead, self.answers, self.source):
                opened.push_async_callback(one.close)  # not before: some clients refuse that
                await one.open(create=self.options.create)
            if await self._target_opened():
                await self._work()
        return self.tally

    async def _target_opened(self) -> bool:
        """Wait until the target answers, and check it; False if we are to stop before."""
        told = False
        while not await self.target.alive():
            if not told:
                self.progress.step(f"waiting for {self.options.target}")
                told = True
            if await _within(self._stopping.wait(), _LOOK_SECONDS):
                return False
        await self.target.open()
        self.progress.step(f"answering messages of {self.name}")
        return True

    async def _work(self) -> None:
        policy = Policy(attempts=self.options.attempts, patience=float("inf"), failing=1.0)
        self._engine = Engine(
            self._ask,
            self._finish,
            self.pace.limiter,
            policy,
            self.target.alive,
            spent=lambda message: message.deliveries - 1,
        )
        beside = [
            asyncio.create_task(one)
            for one in (self.pace.follow(self._engine), self._keep(), self._show())
        ]
        work = asyncio.create_task(self._engine.run(self._messages()))
        try:
            await self._finished(work, beside)
        except StoppedError as error:
            raise ServerError(
                f"the worker stopped: {error.reason}",
                where=f"{error.last.kind}: {error.last.message}",
                fix="check --target, --model and --api-key-env; its messages are back in the queue",
            ) from None
        finally:
            for task in (work, *beside):
                task.cancel()
            await asyncio.gather(work, *beside, return_exceptions=True)
            await self._give_back()
            self._count()

    async def _finished(
        self, work: asyncio.Task[None], beside: Sequence[asyncio.Task[None]]
    ) -> None:
        """Wait for the end; after a stop no longer than the grace. Raise the error of a task
        ``beside``: without it the broker would give our messages to others, too."""
        stopping = asyncio.create_task(self._stopping.wait())
        waiting: set[asyncio.Task[Any]] = {work, stopping, *beside}
        try:
            while not (work.done() or stopping.done()):
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for one in done - {work}:
                    one.result()
            if not work.done():
                self.progress.step(f"finishing {len(self._held)} messages")
            await asyncio.wait({work}, timeout=self.options.grace)
            if work.done():
                work.result()
        finally:
            stopping.cancel()

    async def _give_back(self) -> None:
        """Return what is not finished to the queue; the broker notices by itself if it cannot."""
        self.tally.returned = len(self._held)
        try:
            async with asyncio.timeout(_LONGEST):
                await self.source.release(self._held)
        except (LostError, TimeoutError):
            pass
        self._held.clear()

    async def _messages(self) -> AsyncIterator[Sequence[Message]]:
        """Yield messages, as many as workers are free."""
        while not self._stopping.is_set():
            room = max(1, self._engine.limiter.limit - self._engine.in_flight)
            found = await self._patiently(lambda room=room: self.source.receive(room))  # type: ignore[misc]
            self._held.update(found or ())
            if found:
                yield found
            elif self.options.until_empty and await self._is_empty():
                self._stopping.set()

    async def _is_empty(self) -> bool:
        """Whether nobody has unfinished messages: what others hold may come back."""
        self.tally.waiting = await self._patiently(self.source.waiting)
        return self.tally.waiting == 0 and not self._held

    async def _ask(self, message: Message) -> Outcome:
        try:
            return await self._asked(message)
        except CallError as error:
            message.failures.append(requests.failure(error.kind, error.message, time.time()))
            self.tally.failed += 1
            raise

    async def _asked(self, message: Message) -> Outcome:
        if message.deliveries > self.options.attempts:
            raise CallError(
                Kind.DELIVERIES, f"delivered {message.deliveries} times and never finished"
            )
        try:
            deadline = requests.deadline_of(message)
            call = requests.call_of(
                message, self.options.model, self._endpoint, self.options.max_bytes
            )
        except RowError as error:
            raise CallError(Kind.INPUT, str(error)) from None
        left = None if deadline is None else deadline - time.time()
        if left is not None and left <= 0:
            raise CallError(Kind.EXPIRED, f"the deadline was {-left:.0f} s ago")
        try:
            async with asyncio.timeout(left):
                return await self.target.ask(call)
        except TimeoutError:
            raise CallError(Kind.EXPIRED, "the deadline passed before the answer") from None

    async def _finish(self, message: Message, receipt: Receipt) -> None:
        """Publish what came of a message, then acknowledge it."""
        if receipt.outcome is not None:
            try:
                await self._patiently(
                    lambda: self.answers.publish(requests.answer_of(message, receipt))
                )
                self.tally.answered += 1
            except TooLargeError as error:
                receipt = Receipt(None, receipt.attempts, receipt.latency_ms, str(error), "input")
        if receipt.outcome is None:
            await self._bury(requests.dead_letters(message, receipt, self.name))
        await self._patiently(lambda: self.source.done(message))
        self._held.discard(message)

    async def _bury(self, letters: Iterator[Outgoing]) -> None:
        """Publish the first letter that is not too large. ServerError if all are."""
        for letter in letters:
            try:
                await self._patiently(lambda letter=letter: self.dead.publish(letter))  # type: ignore[misc]
            except TooLargeError as error:
                refusal = str(error)
            else:
                self.tally.dead += 1
                return
        raise ServerError(
            f"--dead takes no dead letter: {refusal}", fix="raise the broker's limit of a message"
        )

    async def _patiently(self, act: Callable[[], Awaitable[_Made]]) -> _Made:
        """Return what a broker answers, however long it is away."""
        pause = _PAUSE
        while True:
            try:
                made = await act()
            except LostError as error:
                self.tally.trouble = str(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST)
            else:
                self.tally.trouble = ""
                return made

    async def _keep(self) -> None:
        """Tell the broker, again and again, that we still work on our messages."""
        period = min(1.0, self.options.lease / _KEPT)
        while True:
            await asyncio.sleep(period)
            await self._patiently(lambda: self.source.keep(set(self._held)))

    async def _show(self) -> None:
        for second in itertools.count():
            await asyncio.sleep(_SHOW_SECONDS)
            if second % _ASKED_EVERY == 0:
                self.tally.waiting = await self._patiently(self.source.waiting)
            self._count()

    def _count(self) -> None:
        now = time.time()
        tally, engine = self.tally, self._engine
        tally.held, tally.limit = len(self._held), engine.limiter.limit
        oldest = min((one.sent or one.received for one in self._held), default=now)
        tally.oldest_s = max(0.0, now - oldest)
        self.watch(tally)


async def _within(awaitable: Awaitable[Any], seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await awaitable
    except TimeoutError:
        return False
    return True
