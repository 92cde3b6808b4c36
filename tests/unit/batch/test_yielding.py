"""A job beside online traffic: it yields, measures what it costs others, and comes back."""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from support import virtual_time
from support.compute_bound import Engine as Computing
from trtbuild.signature.requests import EmbedRequest, GenerateRequest, RerankRequest
from trtbuild.signature.sampling import Sampling
from trtbuild_batch.asking import Call, Conversation, Question, requests_of
from trtbuild_batch.cli.view import line
from trtbuild_batch.engine import (
    CallError,
    Engine,
    Kind,
    Load,
    Metered,
    Ours,
    Outcome,
    Policy,
    Receipt,
    StoppedError,
    Yielding,
)
from trtbuild_batch.jobs.pacing import Pacer
from trtbuild_batch.jobs.tally import Snapshot

CPU: dict[str, Any] = {}
GPU: dict[str, Any] = {"step": 0.01, "row": 0.0001, "prompt": 0.005, "slots": 64}
CHATTY, FOUR = [0.3], [4.0] * 4
"""Longest pauses: one user who hardly reads, and four who do."""
WARM = 60.0


def yielding(slowdown: float = 1.05, seed: int = 1) -> Metered:
    return Metered(yielding=Yielding(slowdown, chance=random.Random(seed)))


def beside(
    limiter: Metered | None, users: list[float], machine: dict[str, Any], seconds: float = 600
) -> tuple[float, int, Computing]:
    """The 99th percentile of first tokens after a minute, and the rows of the job in that time."""
    engine = Computing(users, [limiter] if limiter else [], **machine)
    engine.run(WARM)
    before = engine.rows
    engine.run(WARM + seconds)
    firsts = [took for began, took in engine.firsts if began > WARM]
    p99 = statistics.quantiles(firsts, n=100, method="inclusive")[98] if firsts else 0.0
    return p99, engine.rows - before, engine


@pytest.mark.parametrize("users", [CHATTY, FOUR], ids=["chatty", "four"])
def test_first_tokens_come_as_if_nobody_else_were_there(users: list[float]) -> None:
    alone, _, _ = beside(None, users, CPU)
    found, rows, _ = beside(yielding(), users, CPU)
    assert found <= 1.2 * alone
    without, _, _ = beside(Metered(), users, CPU)
    assert without > 2 * alone  # free slots are not enough
    hour, rows, engine = beside(yielding(), users, CPU, seconds=3600)
    assert hour <= 1.2 * alone
    assert rows > 3  # it is never starved: a hundredth of the time is its own
    assert sum(limit > 0 for limit in engine.limits) < 0.05 * len(engine.limits)


def test_rows_that_cost_others_little_go_on() -> None:
    alone, _, _ = beside(None, FOUR, GPU)
    default, few, _ = beside(yielding(), FOUR, GPU)
    found, rows, engine = beside(yielding(1.3), FOUR, GPU)
    full, most, _ = beside(Metered(), FOUR, GPU)
    assert default < 1.25 * alone < found < 2 * alone < full
    assert 100 < few < most / 5 < rows  # a hundredth of the time would be ten rows
    assert statistics.mean(engine.limits) > 4


@pytest.mark.parametrize("machine", [CPU, GPU], ids=["cpu", "gpu"])
def test_a_job_that_is_alone_is_as_fast_as_ever(machine: dict[str, Any]) -> None:
    _, rows, engine = beside(yielding(), [], machine)
    _, most, _ = beside(Metered(), [], machine)
    assert rows > 0.97 * most
    assert min(engine.limits) > 0


def test_a_job_comes_back_when_the_others_have_gone() -> None:
    limiter = yielding()
    engine = Computing(CHATTY, [limiter], away=(100.0, 400.0))
    engine.run(100)
    assert limiter.limit == 0
    engine.run(108)
    assert limiter.limit == 0  # they may be back at once
    engine.run(200)
    back = [limit for limit in engine.limits[100:] if limit]
    assert back[:4] == [1, 2, 3, 4]  # new prompts hold up a step together
    assert limiter.limit > 8
    engine.run(405)
    assert limiter.limit == 0


@pytest.mark.parametrize("machine", [CPU, GPU], ids=["cpu", "gpu"])
def test_jobs_do_not_make_way_for_each_other_for_ever(machine: dict[str, Any]) -> None:
    _, most, _ = beside(Metered(), [], machine)
    engine = Computing([], [yielding(seed=seed) for seed in (1, 2, 3)], **machine)
    engine.run(660)
    assert engine.rows > 0.5 * most  # one works, the others wait


def test_a_server_that_counts_no_first_tokens_is_not_yielded_to() -> None:
    limiter = yielding()
    for second in range(30):
        limiter.observe(Load(0, 50), Ours(limiter.limit, now=second))
    assert limiter.limit > 8


def test_a_server_that_serves_nobody_does_not_keep_a_job_waiting() -> None:
    limiter = yielding()
    limits = []
    for second in range(300):  # a gauge that stands still: nobody gets a first token
        limiter.observe(Load(0, 3, 0.0, 9, 0.9), Ours(0, 0, second))
        limits.append(limiter.limit)
    assert limits[:60] == [0] * 60 and 3 <= sum(limit > 0 for limit in limits) < 10


def test_a_server_that_starts_again_counts_from_zero() -> None:
    limiter = yielding()
    for second in range(30):  # ours alone, one a second
        firsts = second + 1 if second < 15 else second - 15
        limiter.observe(Load(0, 8, 0.0, firsts, firsts * 0.1), Ours(8, second + 1, second))
    assert limiter.limit > 8
    limiter.observe(Load(0, 8, 0.0, 30, 3.0), Ours(8, 31, 30))  # most are not ours
    assert limiter.limit == 0


@pytest.mark.parametrize(
    ("question", "count"),
    [
        (GenerateRequest("x"), 1),
        (Conversation((), Sampling(more={"n": 4})), 4),
        (EmbedRequest(("a",)), 1),
        (RerankRequest("q", ("a", "b")), 3),
        (Call("/chat/completions", {"messages": [{}, {}], "n": 2}), 2),
        (Call("/completions", {"prompt": ["a", "b", "c"], "n": 2}), 6),
        (Call("/completions", {"prompt": [1, 2, 3]}), 1),
        (Call("/embeddings", {"input": [[1, 2], [3]]}), 2),
        (Call("/responses", {"input": [{}, {}], "n": "x"}), 1),
        (Call("/rerank", {"query": "q", "documents": ["a", "b"]}), 2),
    ],
)
def test_a_question_of_several_requests_is_not_taken_for_traffic(
    question: Question, count: int
) -> None:
    assert requests_of(question) == count


def test_the_progress_says_why_nothing_is_asked() -> None:
    assert line(Snapshot(10, 3, limit=0)) == "3 of 10 rows · yielding to other requests"
    assert line(Snapshot(10, 3, in_flight=2, limit=4)).endswith("2 of 4 calls in flight")
    assert line(Snapshot(10, 10, limit=4)) == "10 of 10 rows", "a job that has ended makes no calls"


class Gate:
    """A limiter that a test opens and shuts."""

    def __init__(self) -> None:
        self.limit = 2

    def succeeded(self, latency_ms: float) -> None: ...

    def overloaded(self) -> None: ...


async def _ten() -> AsyncIterator[Sequence[int]]:
    yield range(10)


def test_a_limit_of_zero_pauses_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, done, up = Gate(), [], True

    async def ask(item: int) -> Outcome:
        await asyncio.sleep(1)
        if not up:
            raise CallError(Kind.CONNECTION, "no")
        return Outcome(str(item))

    def record(item: int, _receipt: Receipt) -> None:
        done.append(item)

    async def main() -> None:
        nonlocal up
        engine: Engine[int] = Engine(ask, record, gate, Policy(patience=60))
        work = asyncio.create_task(engine.run(_ten()))
        await asyncio.sleep(2.5)
        gate.limit = 0
        await asyncio.sleep(3600)  # longer than patience: it was our pause
        assert len(done) == 6 and engine.in_flight == 0 and not work.done()
        gate.limit, up = 1, False
        engine.wake()
        await asyncio.sleep(5)
        up = True
        await work
        assert sorted(done) == list(range(10)) and engine.asked > 10
        gate.limit = 0
        later = asyncio.create_task(engine.run(_ten()))
        await asyncio.sleep(5)
        gate.limit, up = 1, False
        engine.wake()
        with pytest.raises(StoppedError, match="has not answered"):
            await later

    virtual_time.run(main(), monkeypatch)


class Scripted(Pacer):
    """Reads its pages from a list; None: no answer. The last one stays."""

    pages: list[Load | None]

    async def _load(self, _http: Any) -> Load | None:
        return self.pages.pop(0) if len(self.pages) > 1 else self.pages[0]


def test_a_job_looks_before_its_first_call_and_does_not_wait_for_whom_it_cannot_see(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from trtbuild_batch.engine import Aimd

    async def main() -> None:
        async def ask(item: int) -> Outcome:
            return Outcome(str(item))

        engine: Engine[int] = Engine(ask, lambda *_: None, Aimd())
        pacer = Scripted(Aimd(), "http://127.0.0.1:9/metrics", "m", slowdown=1.1)
        busy = Load(0, 3, 0.0, 5, 0.5)
        pacer.pages = [busy, busy, busy, None, None, None]
        await pacer.begin(engine)
        assert engine.limiter.limit == 0
        follow = asyncio.create_task(pacer.follow(engine))
        work = asyncio.create_task(engine.run(_ten()))
        await asyncio.sleep(1.5)
        assert not engine.answered
        await work  # the metrics are gone
        follow.cancel()

    virtual_time.run(main(), monkeypatch)


def test_calls_of_several_requests_are_counted_as_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    limiter = Metered(start=8)
    for second in range(3):
        limiter.observe(Load(5, 32), Ours(limiter.limit * 4, now=second, calls=limiter.limit))
    assert limiter.limit == 3  # three steps down: the queue is our own
    idle = Metered(start=8)
    idle.observe(Load(0, 8), Ours(8, calls=2))
    assert idle.limit == 8  # two of eight: no growth for nobody

    async def main() -> None:
        async def ask(item: int) -> Outcome:
            await asyncio.sleep(1)
            return Outcome(str(item))

        async def many() -> AsyncIterator[Sequence[int]]:
            yield range(10_000)

        pacer = Scripted(Metered(), "http://127.0.0.1:9/metrics", "m")
        pacer.pages = [Load(5, 32)]
        engine: Engine[int] = Engine(ask, lambda *_: None, pacer.limiter, requests=lambda _: 4)
        tasks = [asyncio.create_task(one) for one in (engine.run(many()), pacer.follow(engine))]
        await asyncio.sleep(20)
        assert engine.limiter.limit == 1
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    virtual_time.run(main(), monkeypatch)


def test_a_job_stays_as_fast_when_the_metrics_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async def ask(item: int) -> Outcome:
            await asyncio.sleep(10)
            return Outcome(str(item))

        async def many() -> AsyncIterator[Sequence[int]]:
            yield range(10_000)

        pacer = Scripted(Metered(), "http://127.0.0.1:9/metrics", "m", slowdown=1.05)
        engine: Engine[int] = Engine(ask, lambda *_: None, yielding())
        pacer.pages = [*[Load(0, 0, 0.0, 0, 0.0)] * 30, None]
        tasks = [asyncio.create_task(one) for one in (engine.run(many()), pacer.follow(engine))]
        await asyncio.sleep(29)
        before = engine.limiter.limit
        await asyncio.sleep(60)
        assert engine.limiter.limit >= before > 16
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    virtual_time.run(main(), monkeypatch)


def test_no_worker_starts_while_a_failed_job_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async def ask(item: int) -> Outcome:
            if item == 0:
                await asyncio.sleep(1)
                raise CallError(Kind.REFUSED, "no", fatal=True)
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(5)  # as long as it takes to close a connection
            return Outcome(str(item))

        gate = Gate()
        engine: Engine[int] = Engine(ask, lambda *_: None, gate)
        work = asyncio.create_task(engine.run(_ten()))
        await asyncio.sleep(2)
        gate.limit = 8
        engine.wake()
        with pytest.raises(StoppedError, match="refuses every request"):
            await work
        engine.wake()
        assert engine.asked == 2

    virtual_time.run(main(), monkeypatch)
