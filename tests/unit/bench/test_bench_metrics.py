"""Each metric against the sentence that defines it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from support.lanes import rounds
from trtbuild.errors import UsageError
from trtbuild_measure.bench.comparison import ratio_interval
from trtbuild_measure.bench.histogram import Distribution
from trtbuild_measure.bench.metrics import e2e, icl, itl, queueing, tpot, ttft
from trtbuild_measure.bench.metrics.goodput import Goodput, parse_slo
from trtbuild_measure.bench.metrics.throughput import Throughput
from trtbuild_measure.bench.model import Timeline


def timeline(
    arrivals: tuple[float, ...],
    tokens: tuple[int, ...],
    *,
    intended: float = 0.0,
    started: float = 0.0,
    ended: float | None = None,
) -> Timeline:
    return Timeline(
        intended=intended,
        started=started,
        ended=ended if ended is not None else arrivals[-1],
        arrivals=arrivals,
        tokens=tokens,
        output_tokens=sum(tokens),
        input_tokens=10,
    )


def the_mock() -> Timeline:
    """First text after 100 ms, then 20 chunks of two tokens, one every 20 ms."""
    arrivals = tuple(0.1 + 0.02 * number for number in range(21))
    return timeline(arrivals, (2,) * 21, ended=0.6)


def test_the_script_of_the_mock() -> None:
    line = the_mock()
    assert ttft.values(line) == pytest.approx((100.0,))
    assert icl.values(line) == pytest.approx((20.0,) * 20)
    assert itl.values(line) == pytest.approx((10.0,) * 40)
    assert tpot.values(line) == pytest.approx((10.0,)), "the two of the first chunk took no time"
    assert e2e.values(line) == pytest.approx((500.0,)), "the end of the stream is not content"


def test_latencies_count_from_when_the_request_was_due() -> None:
    line = timeline((3.0, 3.5), (1, 1), intended=1.0, started=2.5)
    assert ttft.values(line) == (2000.0,)
    assert e2e.values(line) == (2500.0,)
    assert queueing.values(line) == (1500.0,)


def test_a_chunk_without_a_token_lends_its_time_to_the_next() -> None:
    line = timeline((1.0, 1.1, 1.2, 1.3), (1, 0, 2, 0))
    assert itl.values(line) == pytest.approx((100.0, 100.0))
    assert len(icl.values(line)) == 3


def test_without_token_counts_there_is_no_inter_token_latency() -> None:
    line = Timeline(0, 0, 2, (1.0, 2.0), (), 5, 0)
    assert itl.values(line) == ()
    assert tpot.values(line) == (250.0,)


@pytest.mark.parametrize("line", [Timeline(0, 0, 2, (), (), 0, 0), timeline((1.0,), (1,))])
def test_one_token_has_no_pace(line: Timeline) -> None:
    assert tpot.values(line) == itl.values(line) == icl.values(line) == ()
    assert e2e.values(line)


def closed_loop_in_step(clients: int, seconds: float, each: float) -> Throughput:
    """All clients ask and are answered at the same moments, the worst case for fence posts."""
    found = Throughput()
    found.open(1.0)
    starts = np.arange(1.0 - each, 1.0 + seconds, each)
    found.close(float(starts[-1]))
    for start in starts:
        for _ in range(clients):
            arrivals = tuple(float(start) + each * (n + 1) / 10 for n in range(10))
            found.add(timeline(arrivals, (1,) * 10, started=float(start)))
    return found


def test_throughput_has_no_fence_post() -> None:
    found = closed_loop_in_step(4, 5.0, 0.5).per_second()
    assert found["requests_per_s"] == pytest.approx(8.0)
    assert found["output_tokens_per_s"] == pytest.approx(80.0, rel=0.02)
    assert found["total_tokens_per_s"] == pytest.approx(160.0, rel=0.02)


def test_throughput_of_nothing_is_unknown() -> None:
    assert set(Throughput().per_second().values()) == {None}


def test_goodput_counts_those_that_met_all() -> None:
    found = Goodput({"ttft_ms": 100.0, "itl_ms": 10.0})
    found.add({"ttft_ms": (50.0,), "itl_ms": (1.0, 18.0)})  # a mean of 9.5
    found.add({"ttft_ms": (150.0,), "itl_ms": (1.0,)})
    found.add({"ttft_ms": (50.0,), "itl_ms": ()})  # one token: nothing to hold
    found.fail()
    assert (found.met, found.asked, found.share) == (2, 4, 0.5)
    assert found.broken == {"ttft_ms": 1}
    assert not found.held


def test_what_cannot_be_judged_is_not_met() -> None:
    """Many pieces and no count of their tokens: an inter-token latency is there, and not known."""
    found = Goodput({"itl_ms": 10.0})
    found.add({"itl_ms": (), "icl_ms": (5.0, 5.0)})
    assert found.met == 0 and found.broken == {"itl_ms": 1}


def test_objectives_are_read() -> None:
    assert parse_slo("ttft=500ms, itl=0.05s") == {"ttft_ms": 500.0, "itl_ms": 50.0}


@pytest.mark.parametrize(
    "text",
    ["ttft=500", "ttft", "speed=5ms", "ttft=1s,ttft=2s", "itl=-5ms", "ttft=0ms", "ttft=1s,", " "],
)
def test_a_wrong_objective_is_named(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_slo(text)
    assert caught.value.fix and text.rsplit(",", maxsplit=1)[-1].strip() in caught.value.what
    assert parse_slo("") == {}


def test_percentiles_are_within_half_a_thousandth() -> None:
    values = np.random.default_rng(1).lognormal(3, 1, 5000)
    found = Distribution()
    for number, value in enumerate(values):
        found.add((float(value),), number)
    for percent in (50, 90, 95, 99):
        true = np.percentile(values, percent, method="inverted_cdf")
        assert found.percentile(percent) == pytest.approx(true, rel=6e-4)
    assert found.mean == pytest.approx(values.mean())
    assert found.highest == values.max()
    assert found.percentile(100) <= found.highest


@pytest.mark.long
def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(2)
    median, covered, runs = math.exp(3), 0, rounds(20, 1000)
    for _ in range(runs):
        found = Distribution()
        for number, value in enumerate(random.lognormal(3, 0.5, 200)):
            found.add((float(value),), number)
        low, high = found.intervals()["p50"]
        covered += low <= median <= high
    assert covered >= 0.88 * runs, "95 % intervals"


def weather(random: np.random.Generator) -> np.ndarray:
    """Latencies that are like those before them, as in a queue; their logarithms are normal."""
    noise = random.normal(0, 1, 1000)
    values = np.empty(1000)
    values[0] = noise[0]
    for number in range(1, 1000):
        values[number] = 0.9 * values[number - 1] + math.sqrt(1 - 0.81) * noise[number]
    return np.exp(3 + 0.2 * values)


def batches(random: np.random.Generator) -> np.ndarray:
    """Eight requests at a time have one latency."""
    return np.repeat(random.lognormal(3, 0.2, 125), 8)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("latencies", [weather, batches])
def test_intervals_know_that_neighbours_share_their_luck(
    latencies: Callable[[np.random.Generator], np.ndarray],
) -> None:
    random, covered, runs = np.random.default_rng(4), 0, rounds(20, 100)
    for _ in range(runs):
        found = Distribution()
        for number, value in enumerate(latencies(random)):
            found.add((float(value),), number)
        low, high = found.intervals()["p50"]
        covered += low <= math.exp(3) <= high
    assert covered >= 0.86 * runs, "95 % intervals; dealt out in turn it was 30 to 50 %"


def p99(values: np.ndarray) -> tuple[float, tuple[float, float]]:
    found = Distribution()
    for number, value in enumerate(values):
        found.add((float(value),), number)
    return found.percentile(99), found.intervals()["p99"]


def surely_slower(before: np.ndarray, after: np.ndarray) -> bool:
    """By more than 5 %, as `bench compare` judges."""
    (one, one_interval), (other, other_interval) = p99(before), p99(after)
    found = ratio_interval(one, one_interval, other, other_interval)
    return found is not None and found[0] > 1.05


@pytest.mark.slow
@pytest.mark.long
def test_a_p99_that_hangs_on_a_few_requests_is_no_regression() -> None:
    random, alarms, found = np.random.default_rng(6), 0, 0
    runs, loud = rounds(15, 60), rounds(5, 20)
    for _ in range(runs):
        one, other = (np.repeat(random.lognormal(3, 0.5, 25), 8) for _ in range(2))
        alarms += surely_slower(one, other) or surely_slower(other, one)
    assert alarms <= runs / 15, "where all groups counted it was 11 of 60"
    for _ in range(loud):
        one, other = (random.lognormal(3, 0.5, 1000) for _ in range(2))
        found += surely_slower(one, 1.5 * other)
    assert found >= 0.8 * loud, "what many requests say is heard"


def test_groups_keep_every_value_however_often_they_are_joined() -> None:
    found = Distribution()
    for number in range(1000):
        found.add((float(number + 1), 5000.0), number)
    assert found._counts.sum() == 2000
    assert found._sums.sum() == pytest.approx(1000 * 1001 / 2 + 1000 * 5000)
    assert (found._counts.sum(axis=1) > 0).sum() == 63
    low, high = found.intervals()["mean"]
    assert low < found.mean < high


def test_intervals_know_that_tokens_of_one_request_belong_together() -> None:
    random = np.random.default_rng(3)
    together, apart = Distribution(), Distribution()
    for number, pace in enumerate(random.lognormal(2, 0.5, 60)):
        values = tuple((pace * random.uniform(0.9, 1.1, 200)).tolist())
        together.add(values, number)
        for index, value in enumerate(values):
            apart.add((value,), index)
    wide, narrow = (np.diff(found.intervals()["mean"])[0] for found in (together, apart))
    assert wide > 5 * narrow


def test_memory_does_not_grow_with_values() -> None:
    found = Distribution()
    for number in range(2000):
        found.add(tuple(np.random.default_rng(number).lognormal(3, 2, 500)), number)
    assert found.count == 1_000_000
    assert found._counts.nbytes < 8_000_000


def test_a_zero_and_a_day_are_counted() -> None:
    found = Distribution()
    found.add((0.0, 86_400_000.0), 0)
    assert found.percentile(99) == pytest.approx(86_400_000.0, rel=1e-3)
    assert Distribution().summary() is None
    assert Distribution().curve() == []
