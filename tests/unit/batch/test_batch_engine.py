"""The engine alone: when it tries again, when it stops, how many calls it makes at a time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from support import virtual_time
from trtbuild_batch.engine import (
    Aimd,
    CallError,
    Engine,
    Fixed,
    Kind,
    Load,
    Metered,
    Ours,
    Outcome,
    Policy,
    Receipt,
    StoppedError,
)
from trtbuild_batch.jobs.pacing import load_of

Ask = Callable[[int, int, float], float | CallError]
"""From an item, how often it was asked before, and the time: seconds of the answer, or an error."""


async def batches(count: int) -> AsyncIterator[Sequence[int]]:
    for start in range(0, count, 10):
        yield range(start, min(count, start + 10))


class Bench:
    """An engine in virtual time, and what it did."""

    def __init__(self, ask: Ask, *, policy: Policy | None = None, limit: int = 4) -> None:
        self.receipts: dict[int, Receipt] = {}
        self.calls: list[tuple[int, float]] = []
        self.up = True
        self._asked: dict[int, int] = {}
        self._decide = ask
        self.limiter: Any = Fixed(limit)
        self.policy = policy or Policy()

    async def run(self, count: int) -> float:
        self.loop = asyncio.get_running_loop()
        start = self.loop.time()

        async def ask(item: int) -> Outcome:
            now = self.loop.time() - start
            self.calls.append((item, now))
            before = self._asked.get(item, 0)
            self._asked[item] = before + 1
            found = self._decide(item, before, now)
            if isinstance(found, CallError):
                await asyncio.sleep(0.01)
                raise found
            await asyncio.sleep(found)
            return Outcome(str(item))

        def record(item: int, receipt: Receipt) -> None:
            assert item not in self.receipts
            self.receipts[item] = receipt

        async def alive() -> bool:
            return self.up

        engine: Engine[int] = Engine(ask, record, self.limiter, self.policy, alive)
        engine._chance = random.Random(1)
        await engine.run(batches(count))
        return self.loop.time() - start


def down(kind: Kind = Kind.CONNECTION, **more: Any) -> CallError:
    return CallError(kind, "no", **more)


def test_a_target_that_is_away_for_ten_minutes_costs_no_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ask(_item: int, _before: int, now: float) -> float | CallError:
        return down() if 1.0 < now < 600 else 0.2

    bench = Bench(ask)
    bench.up = False
    seconds = virtual_time.run(bench.run(100), monkeypatch)
    assert sorted(bench.receipts) == list(range(100))
    assert not [one for one in bench.receipts.values() if one.kind]
    assert 600 < seconds < 640
    assert sum(1.0 < at < 600 for _, at in bench.calls) < 250  # it does not hammer


def test_a_target_that_stays_away_stops_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(lambda *_: down(), policy=Policy(patience=60))
    bench.up = False
    with pytest.raises(StoppedError, match=r"has not answered for [67]\d s"):
        virtual_time.run(bench.run(100), monkeypatch)
    assert not bench.receipts


@pytest.mark.parametrize("kind", [Kind.CONNECTION, Kind.TIMEOUT, Kind.SERVER, Kind.MALFORMED])
def test_one_poisonous_item_has_an_error_and_the_others_an_answer(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(lambda item, *_: down(kind) if item == 37 else 0.1, limit=8)
    seconds = virtual_time.run(bench.run(38), monkeypatch)  # it is the last: nobody else answers
    bad = {item: one for item, one in bench.receipts.items() if one.kind}
    assert list(bad) == [37] and bad[37].attempts == 5 and bad[37].kind == kind
    assert len(bench.receipts) == 38 and seconds < 60


def test_more_than_half_of_the_calls_failing_stops_the_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(lambda item, *_: down(Kind.REFUSED) if item % 5 < 3 else 0.01)
    with pytest.raises(StoppedError, match=r"of the last \d+ calls failed"):
        virtual_time.run(bench.run(10_000), monkeypatch)
    assert 50 <= len(bench.calls) < 70
    fewer = Bench(lambda item, *_: down(Kind.REFUSED) if item % 5 < 2 else 0.01)
    virtual_time.run(fewer.run(1000), monkeypatch)
    assert sum(one.kind == "refused" for one in fewer.receipts.values()) == 400
    assert len(fewer.calls) == 1000  # what is refused for good is not asked again


def test_a_target_that_breaks_every_connection_and_lives_stops_the_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(lambda *_: down())
    with pytest.raises(StoppedError, match=r"of the last \d+ calls failed"):
        virtual_time.run(bench.run(1000), monkeypatch)
    assert len(bench.calls) < 70


def test_a_fatal_answer_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(lambda *_: down(Kind.REFUSED, fatal=True))
    with pytest.raises(StoppedError, match="refuses every request"):
        virtual_time.run(bench.run(100), monkeypatch)
    assert len(bench.calls) <= 4


def test_retry_after_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(_item: int, before: int, _now: float) -> float | CallError:
        return 0.01 if before else down(Kind.RATE, retry_after=40.0)

    bench = Bench(ask, limit=1)
    seconds = virtual_time.run(bench.run(1), monkeypatch)
    assert 40 <= seconds < 41.5
    with pytest.raises(StoppedError):  # it asks for more patience than there is
        virtual_time.run(Bench(lambda *_: down(Kind.RATE, retry_after=2000.0)).run(1), monkeypatch)


@pytest.mark.slow
def test_a_rate_limit_slows_the_job_and_fails_no_item(monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[float] = []

    def ask(_item: int, _before: int, now: float) -> float | CallError:
        if sum(now - one < 60 for one in times) >= 20:
            return down(Kind.RATE, retry_after=5.0)
        times.append(now)
        return 0.1

    bench = Bench(ask, limit=16)
    seconds = virtual_time.run(bench.run(100), monkeypatch)
    assert len(bench.receipts) == 100 and seconds > 240
    assert not [one for one in bench.receipts.values() if one.kind]
    alone = Bench(lambda item, *_: down(Kind.RATE, retry_after=1.0) if item == 3 else 0.1)
    virtual_time.run(alone.run(5000), monkeypatch)
    assert [(item, one.kind) for item, one in alone.receipts.items() if one.kind] == [
        (3, "rate_limited")
    ]


def test_pauses_are_random_and_grow() -> None:
    policy, chance = Policy(), random.Random(0)
    for tried, limit in ((1, 1), (3, 4), (10, 30)):
        pauses = [policy.pause(tried, None, chance) for _ in range(300)]
        assert min(pauses) < 0.1 * limit and 0.9 * limit < max(pauses) <= limit


def test_no_server_makes_a_call_wait_for_years() -> None:
    chance = random.Random(0)
    for told in (7.0e9, float("inf")):  # such as a date in the year 9999
        assert 3600 <= Policy().pause(1, told, chance) < 3700
    assert Policy().pause(1, 60, chance) >= 60


def server(limiter: Any, slots: int, online: int, seconds: int) -> list[tuple[int, int, int]]:
    """Our calls, what runs and what waits at a server of so many slots, second by second."""
    found = []
    for _ in range(seconds):
        ours = limiter.limit
        total = ours + online
        running, waiting = min(slots, total), max(0, total - slots)
        limiter.observe(Load(waiting, running), Ours(ours))
        found.append((ours, running, waiting))
    return found


def test_metrics_leave_a_fifth_of_the_server_free() -> None:
    states = server(Metered(), slots=64, online=8, seconds=120)
    later = states[40:]
    assert sum(waiting > 0 for _, _, waiting in later) == 0
    assert all(0.6 * 64 <= running <= 0.85 * 64 for _, running, _ in later)
    greedy = server(Metered(greedy=True), slots=64, online=8, seconds=120)[40:]
    assert sum(running for _, running, _ in greedy) / len(greedy) > 0.9 * 64
    assert max(waiting for _, _, waiting in greedy) <= 16


def test_a_page_that_stands_still_shrinks_the_limit_once() -> None:
    limiter = Metered(start=17)
    for _ in range(10):  # a long step of the engine: its page tells the same each second
        limiter.observe(Load(1, 16), Ours(17))
    assert limiter.limit == 12
    limiter.observe(Load(1, 16), Ours(12))
    assert limiter.limit == 9


VLLM = """vllm:num_requests_running{model_name="m"} 12.0
vllm:num_requests_waiting{model_name="m"} 3.0
vllm:num_requests_waiting{model_name="other"} 90.0
vllm:kv_cache_usage_perc{model_name="m"} 0.25
vllm:time_to_first_token_seconds_bucket{model_name="m",le="0.1"} 30
vllm:time_to_first_token_seconds_count{model_name="m"} 40
vllm:time_to_first_token_seconds_sum{model_name="m"} 2.5
nv_inference_pending_request_count{model="m",version="1"} 2
"""
TRTLLM = """nv_trt_llm_request_metrics{model="m",request_type="waiting",version="1"} 1
nv_trt_llm_request_metrics{model="m",request_type="scheduled",version="1"} 7
nv_trt_llm_request_metrics{model="m",request_type="max",version="1"} 64
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction",model="m",version="1"} 0.5
"""


@pytest.mark.parametrize(
    ("page", "load"),
    [
        (VLLM, Load(5, 12, 0.25, 40, 2.5)),
        (TRTLLM, Load(1, 7, 0.5)),
        ('nv_inference_pending_request_count{model="m"} 4\n', Load(4, None, None)),
        ("trtbuild_gateway_requests_in_flight 9\n", None),
        ("", None),
        ("vllm:num_requests_waiting NaN\n", None),
    ],
)
def test_the_load_of_a_server_is_in_its_metrics(page: str, load: Load | None) -> None:
    assert load_of(page, "m") == load


def test_refusals_shrink_the_limit_once_a_burst_and_latency_stops_its_growth() -> None:
    limiter = Aimd(most=64)
    for _ in range(400):
        limiter.succeeded(100.0)
    assert limiter.limit == 64
    for _ in range(10):  # one burst
        limiter.overloaded()
    assert limiter.limit == 48
    slower = Aimd(most=1000)
    for _ in range(20_000):  # a server of 32 slots: latency grows with what is above
        slower.succeeded(100.0 * max(1.0, slower.limit / 32))
    assert 32 <= slower.limit <= 130
    greedy = Aimd(most=1000, greedy=True)
    for _ in range(20_000):
        greedy.succeeded(100.0 * max(1.0, greedy.limit / 32))
    assert greedy.limit > 500
