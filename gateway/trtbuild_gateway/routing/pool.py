"""The servers of one model as one backend."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from trtbuild.errors import ServerError
from trtbuild.signature.requests import Chunk, GenerateRequest, TaskAnswer, TaskRequest
from trtbuild.wire.failures import WireError
from trtbuild_gateway.failures import ApiError, of_exception, unavailable
from trtbuild_gateway.routing.attempt import Attempt, may_go_elsewhere
from trtbuild_gateway.routing.choosing import bounded, least, ranked
from trtbuild_gateway.routing.phases import Clock, Limits
from trtbuild_gateway.routing.server import Server
from trtbuild_gateway.routing.waits import Waits
from trtbuild_gateway.routing_settings import RoutingSettings
from trtbuild_gateway.seams import SESSION, Take, TextSink

_Answer = TypeVar("_Answer")
_FIRST_RETRIES = 10.0
"""Retries that are free before there have been requests to have a share of."""
_SMOOTHING = 0.1


@dataclass(slots=True, eq=False)
class _Waiting:
    """A request that waits for a server."""

    key: bytes
    tried: tuple[Server, ...]
    turn: asyncio.Future[Server] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Pool:
    """A :class:`~trtbuild_gateway.seams.Backend` of several servers.

    A request goes to the server that ``settings.choice`` prefers. If that fails before the first
    token, another may try, within ``retries`` and ``retry_share``. With all servers at
    ``most_in_flight``, requests wait in their order.

    Args:
        model: The model's public name.
        settings: How to choose.
        seconds: For a whole answer, all attempts together.
    """

    def __init__(self, model: str, settings: RoutingSettings, seconds: float) -> None:
        self.model = model
        self.servers: Sequence[Server] = ()
        self.refused = 0
        self.waits = Waits()
        self.settings = settings
        self.seconds = seconds
        self._spare = _FIRST_RETRIES
        self._queue: deque[_Waiting] = deque()
        self._usual_seconds = 1.0

    @property
    def waiting(self) -> int:
        """Requests that wait for a server."""
        return len(self._queue)

    async def relay(
        self,
        request: GenerateRequest,
        headers: Mapping[str, str],
        take: Take,
        sink: TextSink | None = None,
    ) -> None:
        """See :class:`~trtbuild_gateway.seams.Backend`."""
        key = self._key(request, headers)
        sent = _without_session(headers)

        def send(server: Server, attempt: Attempt) -> Awaitable[None]:
            if sink is not None:
                sink.clock = attempt.clock
            return server.backend.relay(request, sent, attempt.take, sink)

        await self._answer(key, send, take, streams=request.stream)

    async def ask(
        self, request: TaskRequest, headers: Mapping[str, str] | None = None
    ) -> TaskAnswer:
        """See :class:`~trtbuild_gateway.seams.Backend`."""
        sent = _without_session(headers or {})

        def send(server: Server, _: Attempt) -> Awaitable[TaskAnswer]:
            return server.backend.ask(request, sent)

        return await self._answer(b"", send, _nothing, streams=False)

    def _key(self, request: GenerateRequest, headers: Mapping[str, str]) -> bytes:
        """Return what decides the order of the servers; empty for the load alone."""
        if self.settings.choice == "prefix":
            begin = request.prompt[: self.settings.prefix_characters]
            return f"{request.adapter}\0{begin}".encode("utf-8", "surrogatepass")
        if self.settings.choice == "sticky" and (session := headers.get(SESSION)):
            return f"{self.model}\0{session}".encode("utf-8", "surrogatepass")
        return b""

    async def _answer(
        self,
        key: bytes,
        send: Callable[[Server, Attempt], Awaitable[_Answer]],
        take: Take,
        *,
        streams: bool,
    ) -> _Answer:
        self._spare = min(_FIRST_RETRIES, self._spare + self.settings.retry_share)
        ends = asyncio.get_running_loop().time() + self.seconds
        tried: list[Server] = []
        while True:
            server = await self._turn(key, tried)
            tried.append(server)
            attempt = Attempt(server, take, Clock(self._limits(server, streams), ends))
            began = asyncio.get_running_loop().time()
            try:
                answer = await attempt.run(send(server, attempt))
            except (WireError, ServerError, ApiError) as error:
                if attempt.begun or not self._may_retry(error, tried):
                    raise
                server.retries += 1
            else:
                self._note(asyncio.get_running_loop().time() - began)
                return answer
            finally:
                self._release(server)

    def _limits(self, server: Server, streams: bool) -> Limits:
        settings = self.settings
        if not (streams and server.streams):
            return Limits(math.inf, math.inf, self.seconds)
        return Limits(settings.first_token_seconds, settings.token_seconds, self.seconds)

    def _may_retry(self, error: Exception, tried: Sequence[Server]) -> bool:
        more = len(tried) <= self.settings.retries and self._spare >= 1
        if not (more and may_go_elsewhere(of_exception(error)) and self._healthy(tried)):
            return False
        self._spare -= 1
        return True

    def _healthy(self, tried: Sequence[Server] = ()) -> list[Server]:
        return [one for one in self.servers if one.healthy and one not in tried]

    async def _turn(self, key: bytes, tried: Sequence[Server]) -> Server:
        """Return the server that answers; it counts as in flight from now on."""
        self.serve_waiting()  # those that a server is free for go first
        if (server := self._chosen(key, tried)) is not None:
            self.waits.note(0.0)
            return server
        if not self._possible(tried):
            raise self._broken()
        settings = self.settings
        if len(self._queue) >= settings.most_waiting:
            raise self._overloaded("too many requests wait")
        waiting = _Waiting(key, tuple(tried))
        self._queue.append(waiting)
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(settings.waiting_seconds):
                return await waiting.turn
        except TimeoutError:
            self._forsake(waiting)
            raise self._overloaded(
                f"no server was free for {settings.waiting_seconds:g} s"
            ) from None
        except asyncio.CancelledError:
            self._forsake(waiting)
            raise
        finally:
            self.waits.note(asyncio.get_running_loop().time() - began)

    def _possible(self, tried: Sequence[Server]) -> list[Server]:
        """Return the servers that may be asked: healthy ones, or else any that may answer."""
        return self._healthy(tried) or [
            one for one in self.servers if one.worth_trying and one not in tried
        ]

    def _chosen(self, key: bytes, tried: Sequence[Server]) -> Server | None:
        """Return the best server that has room."""
        most = self.settings.most_in_flight
        free = [one for one in self._possible(tried) if most is None or one.in_flight < most]
        if not free:
            return None
        if not key or len(free) == 1:
            server = least(free)
        elif self.settings.choice == "prefix":
            server = bounded(ranked(free, key), self.settings.imbalance)
        else:
            server = ranked(free, key)[0]
        server.in_flight += 1
        server.sent += 1
        server.turns += 1
        return server

    def _release(self, server: Server) -> None:
        server.in_flight -= 1
        self.serve_waiting()

    def serve_waiting(self) -> None:
        """Give servers that have room to the requests that wait, in their order.

        A request that may not go to a free server, which it has tried, lets those behind it pass.
        One that no server is left for is refused.
        """
        still: deque[_Waiting] = deque()
        full: set[tuple[Server, ...]] = set()  # the queue is long, and most have tried nothing
        for waiting in self._queue:
            if waiting.turn.done():
                continue
            if waiting.tried in full:
                still.append(waiting)
            elif (server := self._chosen(waiting.key, waiting.tried)) is not None:
                waiting.turn.set_result(server)
            elif self._possible(waiting.tried):
                full.add(waiting.tried)
                still.append(waiting)
            else:
                waiting.turn.set_exception(self._broken())
        self._queue = still

    def _forsake(self, waiting: _Waiting) -> None:
        """End a request that no longer waits; it may just have got its server."""
        if waiting in self._queue:
            self._queue.remove(waiting)
        turn = waiting.turn
        if turn.done() and not turn.cancelled() and turn.exception() is None:
            self._release(turn.result())
        waiting.turn.cancel()

    def _note(self, seconds: float) -> None:
        self._usual_seconds += _SMOOTHING * (seconds - self._usual_seconds)

    def _overloaded(self, why: str) -> ApiError:
        """Return the refusal of a request, with the time in which as many have been answered as
        wait."""
        self.refused += 1
        room = (self.settings.most_in_flight or 1) * max(1, len(self.servers))
        seconds = self._usual_seconds * (1 + len(self._queue) / room)
        return unavailable(
            f"the servers of {self.model!r} are busy: {why}", "overloaded", seconds=seconds
        )

    def _broken(self) -> ApiError:
        """Return the refusal of a request that no server can answer."""
        soonest = min(self.servers, key=lambda one: one.breaker.remaining)
        return unavailable(
            f"no server of {self.model!r} answers; the last failure of {soonest.server}: "
            f"{soonest.breaker.reason}",
            "no_healthy_server",
            seconds=soonest.breaker.remaining,
        )


def _without_session(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name != SESSION}


def _nothing(_: Sequence[Chunk]) -> None:
    return None
