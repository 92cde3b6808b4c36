"""The search for the highest rate, on a server that is only a number."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.bench import tokenizer_folder
from support.mock_llm_server import Script, serving
from trtbuild_measure.bench.counting import Counter
from trtbuild_measure.bench.ledger import Ledger
from trtbuild_measure.bench.loads import Load
from trtbuild_measure.bench.metrics.goodput import Goodput
from trtbuild_measure.bench.running import LoadRun, Subject
from trtbuild_measure.bench.sweep import Sweep, sweep
from trtbuild_measure.bench.watching.server import ServerWatch, Watched
from trtbuild_measure.jobs.bench import BenchOptions, run


def swept(limit: float, start: float, *, lost_at: float = 1e9) -> Sweep:
    """A server that holds its objectives up to ``limit`` and is gone from ``lost_at`` on."""

    async def measure(load: Load, _: LoadRun | None) -> LoadRun:
        goodput = Goodput({"ttft_ms": 1.0}, asked=100, met=100 if load.rate <= limit else 50)
        ledger = Ledger(Counter(), goodput)
        run = LoadRun(Subject(None), load, ledger, ServerWatch(Watched()))  # type: ignore[arg-type]
        run.partial = "gone" if load.rate >= lost_at else ""
        return run

    return asyncio.run(sweep(measure, start, "poisson"))


@pytest.mark.parametrize("limit", [1.3, 7.0, 33.0, 500.0])
def test_the_limit_is_known_within_ten_percent(limit: float) -> None:
    found = swept(limit, 1.0)
    assert found.held <= limit < (found.broke or 0)
    assert found.broke is not None and found.broke / found.held < 1.1
    assert len(found.runs) <= 16


def test_it_looks_below_where_it_started() -> None:
    found = swept(3.0, 16.0)
    assert 2.7 <= found.held <= 3.0


def test_no_rate_at_all() -> None:
    found = swept(0.01, 8.0)
    assert found.held == 0
    assert found.broke == 1.0
    assert len(found.runs) == 4


def test_a_server_that_is_gone_ends_it() -> None:
    found = swept(1e9, 1.0, lost_at=8.0)
    assert found.held == 4.0
    assert found.runs[-1].partial == "gone"


def unlucky(misses: dict[float, list[int]]) -> tuple[Sweep, list[tuple[float, int]]]:
    """Fifty requests a block; how many of each block of a rate miss, none where it is not said."""
    asked: list[tuple[float, int]] = []

    async def measure(load: Load, again: LoadRun | None) -> LoadRun:
        goodput = again.ledger.goodput if again else Goodput({"ttft_ms": 1.0})
        missed = misses.get(load.rate, [])
        goodput.met += 50 - (missed.pop(0) if missed else 50 if load.rate > 20 else 0)
        goodput.asked += 50
        asked.append((load.rate, goodput.asked))
        ledger = Ledger(Counter(), goodput)
        return again or LoadRun(Subject(None), load, ledger, ServerWatch(Watched()))  # type: ignore[arg-type]

    return asyncio.run(sweep(measure, 1.0, "poisson")), asked


def test_one_late_request_does_not_end_the_search() -> None:
    """Of fifty one is 2 %, twice what may miss; of a hundred it is what may."""
    found, asked = unlucky({2.0: [1, 0], 8.0: [1, 0]})
    assert 18 < found.held <= 20
    assert asked[:6] == [(1, 50), (2, 50), (2, 100), (4, 50), (8, 50), (8, 100)]
    assert len({run.load.rate for run in found.runs}) == len(found.runs), "a rate is one run"


def test_a_rate_that_stays_undecided_is_not_held() -> None:
    found, asked = unlucky({4.0: [1, 1, 1, 1]})
    assert [count for rate, count in asked if rate == 4.0] == [50, 100, 150, 200]
    assert found.broke is not None and found.broke <= 4.0


def test_no_prompt_is_asked_at_two_rates(tmp_path: Path) -> None:
    """Else the second would find it in the prefix cache, and be the faster for it."""
    script = Script(role_ms=0, first_ms=1, gap_ms=0, pieces=(" time",) * 2, completion_tokens=2)
    with serving(script) as mock:
        options = BenchOptions(
            targets=(f"openai:http://127.0.0.1:{mock.port}/v1#mock",),
            rate="400",
            requests=10,
            warmup=2,
            slo="e2e=0.01ms",
            sweep=True,
            tokenizer=tokenizer_folder(tmp_path / "t"),
        )
        result = run(options).result
        asked = [body["messages"][0]["content"] for body in mock.bodies]
    (target,) = result["targets"]
    assert [load["load"]["rate"] for load in target["loads"]] == [400, 200, 100, 50]
    assert len(set(asked)) == len(asked) == 4 * 12
