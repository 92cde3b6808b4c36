"""The parts of routing that need no server: the breaker, the choice, the clock of an attempt."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

import pytest

from trtbuild.errors import ServerError
from trtbuild.signature.requests import Chunk, EmbedAnswer, EmbedRequest, TaskAnswer
from trtbuild.wire.failures import RefusedError, UnreachableError
from trtbuild_gateway.failures import ApiError, PhaseError
from trtbuild_gateway.routing.attempt import Attempt
from trtbuild_gateway.routing.breaker import Breaker
from trtbuild_gateway.routing.choosing import bounded, least, ranked
from trtbuild_gateway.routing.phases import Clock, Limits
from trtbuild_gateway.routing.pool import Pool
from trtbuild_gateway.routing.server import Server
from trtbuild_gateway.routing_settings import BreakerSettings, RoutingSettings


@dataclass
class One:
    """A server to choose from."""

    server: str
    weight: float = 1.0
    in_flight: int = 0
    turns: float = 0.0


class Now:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def broken(settings: BreakerSettings, now: Now) -> Breaker:
    breaker = Breaker(settings, now)
    while breaker.state == "closed":
        breaker.failed("reset", silent=True, trial=breaker.begin())
    return breaker


def test_a_breaker_opens_after_failures_in_a_row_or_a_share_of_the_last_answers() -> None:
    breaker = Breaker(BreakerSettings(failures=3, share=0.5, window=10))
    for failed in (True, True, False) * 2:
        assert breaker.begin() is False
        if failed:
            breaker.failed("x", silent=False, trial=False)
        else:
            breaker.succeeded(trial=False)
    assert breaker.state == "closed"
    for failed in (True, True, False):
        if failed:
            breaker.failed("x", silent=False, trial=False)
        else:
            breaker.succeeded(trial=False)
    assert breaker.state == "closed"  # nine answers are not yet ten
    breaker.failed("x", silent=False, trial=False)
    assert breaker.state == "open"
    row = Breaker(BreakerSettings(failures=3))
    for _ in range(3):
        assert row.allows
        row.failed("x", silent=True, trial=False)
    assert not row.allows


def test_one_request_tries_and_its_first_token_closes_the_breaker() -> None:
    now = Now()
    breaker = broken(BreakerSettings(seconds=10), now)
    now.time += 9.9
    assert (breaker.allows, breaker.state) == (False, "open")
    now.time += 0.2
    assert (breaker.allows, breaker.state) == (True, "half-open")
    assert breaker.begin() is True
    assert (breaker.allows, breaker.begin()) == (False, False)
    breaker.answered(trial=True)
    assert (breaker.allows, breaker.state) == (True, "closed")


def test_trials_that_fail_come_less_often_and_one_that_says_nothing_is_repeated() -> None:
    now = Now()
    breaker = broken(BreakerSettings(seconds=10), now)
    for wait in (10, 20, 40, 60, 60):
        assert breaker.remaining == pytest.approx(wait)
        now.time += wait
        breaker.dropped(trial=breaker.begin())
        assert breaker.allows
        breaker.failed("again", silent=True, trial=breaker.begin())
    assert breaker.reason == "again"


def test_an_answer_from_before_closes_nothing() -> None:
    breaker = broken(BreakerSettings(), Now())
    breaker.succeeded(trial=False)
    assert breaker.state == "open"


def test_the_least_loaded_server_is_chosen_by_weight() -> None:
    servers = [One("a"), One("b", weight=3)]
    for _ in range(40):
        chosen = least(servers)
        chosen.turns += 1
    assert [one.turns for one in servers] == [10, 30]
    servers = [One("a", in_flight=2), One("b", weight=3, in_flight=5)]
    assert least(servers).server == "b"


def test_keys_are_shared_by_weight_and_only_those_of_a_gone_server_move() -> None:
    servers = [One("a"), One("b"), One("c", weight=2)]
    keys = [str(number).encode() for number in range(2000)]
    first = {key: ranked(servers, key)[0].server for key in keys}
    shares = Counter(first.values())
    assert shares["a"] == pytest.approx(500, rel=0.15)
    assert shares["c"] == pytest.approx(1000, rel=0.1)
    left = {key: ranked(servers[:2], key)[0].server for key in keys}
    assert all(left[key] == name for key, name in first.items() if name != "c")
    assert Counter(left.values())["a"] == pytest.approx(1000, rel=0.1)


def test_a_busy_server_loses_its_keys_to_the_next() -> None:
    servers = [One("a", in_flight=4), One("b", in_flight=1), One("c", in_flight=1)]
    assert bounded(servers, 1.5).server == "b"  # at most 4 of 7
    assert bounded(servers, 3).server == "a"


def attempt(take: object, first: float, between: float) -> tuple[Attempt, Server]:
    server = Server("s", None, Breaker(BreakerSettings()))  # type: ignore[arg-type]
    ends = asyncio.get_running_loop().time() + 20
    clock = Clock(Limits(first, between, 20), ends)
    return Attempt(server, take, clock), server  # type: ignore[arg-type]


def test_a_slow_client_is_not_a_stalled_server() -> None:
    async def main() -> None:
        async def slowly() -> None:
            await asyncio.sleep(0.3)

        made, server = attempt(lambda _: slowly(), 5, 0.1)

        async def work() -> None:
            waiting = made.take([Chunk("a")])
            assert waiting is not None
            await waiting
            await asyncio.sleep(20)

        began = asyncio.get_running_loop().time()
        with pytest.raises(PhaseError, match=r"no further token within 0\.1 s"):
            await made.run(work())
        assert asyncio.get_running_loop().time() - began >= 0.35
        assert server.errors == {"token_timeout": 1}

    asyncio.run(main())


def test_cancelling_an_attempt_is_not_its_timeout() -> None:
    async def main() -> None:
        made, server = attempt(lambda _: None, 5, 5)
        task = asyncio.create_task(made.run(asyncio.sleep(20)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not server.errors

    asyncio.run(main())


class Asked:
    """A backend of which each attempt has a given end."""

    def __init__(self, *ends: Exception | TaskAnswer) -> None:
        self.ends = list(ends)

    async def relay(self, *_: object) -> None:
        raise NotImplementedError

    async def ask(self, request: object, headers: object = ()) -> TaskAnswer:
        end = self.ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return end


@pytest.mark.parametrize(
    ("error", "repeated"),
    [
        (UnreachableError("refused"), True),
        (ServerError("the tensors are not those of the description"), True),
        (ApiError(503, "is being unloaded", code="model_not_ready"), True),
        (RefusedError("queue full: exceeds maximum queue size", status=400), True),
        (RefusedError("must be positive", status=400), False),
        (RefusedError("what no table knows", status=500), False),
        (PhaseError.whole(1), False),
    ],
)
def test_a_question_is_asked_again_elsewhere_if_that_can_help(
    error: Exception, repeated: bool
) -> None:
    async def main() -> None:
        pool = Pool("m", RoutingSettings(), 5)
        good = EmbedAnswer(((1.0,),))
        backends = [Asked(error), Asked(good)]
        pool.servers = [
            Server(str(number), one, Breaker(BreakerSettings()))
            for number, one in enumerate(backends)
        ]
        asked = pool.ask(EmbedRequest(("x",)))
        if repeated:
            assert await asked is good
        else:
            with pytest.raises(type(error)):
                await asked
        assert [one.in_flight for one in pool.servers] == [0, 0]

    asyncio.run(main())


class Held(Asked):
    """A backend that answers, or fails, once it may."""

    def __init__(self, *ends: Exception | TaskAnswer) -> None:
        super().__init__(*ends)
        self.may = asyncio.Event()

    async def ask(self, request: object, headers: object = ()) -> TaskAnswer:
        await self.may.wait()
        return await super().ask(request, headers)


def small_pool(*backends: Asked) -> Pool:
    """A pool whose servers take one request each."""
    pool = Pool("m", RoutingSettings(most_in_flight=1), 20)
    pool.servers = [
        Server(str(number), one, Breaker(BreakerSettings())) for number, one in enumerate(backends)
    ]
    return pool


def test_a_request_that_waits_for_another_server_lets_the_next_pass() -> None:
    async def main() -> None:
        good = EmbedAnswer(((1.0,),))
        full, bad = Held(good, good), Held(UnreachableError("reset"), good, good)
        pool = small_pool(full, bad)
        async with asyncio.timeout(180), asyncio.TaskGroup() as group:
            first = group.create_task(pool.ask(EmbedRequest(("a",))))
            retried = group.create_task(pool.ask(EmbedRequest(("b",))))
            await asyncio.sleep(0)
            bad.may.set()  # its retry waits for the full server
            while not pool.waiting:
                await asyncio.sleep(0)
            assert await pool.ask(EmbedRequest(("c",))) is good
            assert pool.waiting == 1
            full.may.set()
            assert await first is await retried is good
        buckets = dict(pool.waits.buckets())
        # Three did not wait; the retry did, and it is in a later bucket.
        assert (buckets["0.0"], buckets["+Inf"]) == (3, 4)
        assert pool.waits.total > 0
        assert [one.in_flight for one in pool.servers] == [0, 0]

    asyncio.run(main())


def test_a_request_that_no_server_is_left_for_is_refused_while_it_waits() -> None:
    async def main() -> None:
        full, bad = Held(), Held(UnreachableError("reset"))
        pool = small_pool(full, bad)
        first = asyncio.create_task(pool.ask(EmbedRequest(("a",))))
        retried = asyncio.create_task(pool.ask(EmbedRequest(("b",))))
        await asyncio.sleep(0)
        bad.may.set()
        async with asyncio.timeout(180):
            while not pool.waiting:
                await asyncio.sleep(0)
            pool.servers = pool.servers[1:]  # the look at the servers no longer found the full one
            pool.serve_waiting()
            with pytest.raises(ApiError) as refused:
                await retried
        assert (refused.value.code, pool.waiting) == ("no_healthy_server", 0)
        first.cancel()
        await asyncio.wait([first])

    asyncio.run(main())
