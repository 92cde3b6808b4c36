"""How often an interval of the 99th percentile holds the truth, and what `bench compare` sees.

    python benchmarks/bench_intervals.py [--pairs 80] [--slower 2.0]

Latencies are drawn: independent ones, batches of eight that share their luck, a queue at 70 % of
its capacity, a heavy tail. *Held* is the share of intervals with the true value in them, *false*
the share of pairs of one server that differ by more than 5 % beyond doubt, *found* the share of
pairs that do so when the second server is slower by the factor.
"""

from __future__ import annotations

import argparse

import numpy as np

from trtbuild_measure.bench.comparison import ratio_interval
from trtbuild_measure.bench.histogram import Distribution

THRESHOLD = 1.05
REQUESTS = (200, 1000, 3000)
Judged = tuple[float, tuple[float, float]]


def independent(random: np.random.Generator, count: int) -> np.ndarray:
    return random.lognormal(3, 0.5, count)


def batches(random: np.random.Generator, count: int) -> np.ndarray:
    return np.repeat(random.lognormal(3, 0.5, count // 8 + 1), 8)[:count]


def queue(random: np.random.Generator, count: int, load: float = 0.7) -> np.ndarray:
    """One server, exponential work and arrivals; the first 500 requests only fill it."""
    work, gaps = random.exponential(10, count + 500), random.exponential(10 / load, count + 500)
    found, waiting = [], 0.0
    for needs, gap in zip(work, gaps, strict=True):
        waiting = max(0.0, waiting - gap) + needs
        found.append(waiting)
    return np.array(found[500:])


def heavy(random: np.random.Generator, count: int) -> np.ndarray:
    return 10 + 20 * random.pareto(2.5, count)


def judged(values: np.ndarray) -> Judged:
    """The 99th percentile and its interval."""
    found = Distribution()
    for number, value in enumerate(values):
        found.add((float(value),), number)
    return found.percentile(99), found.intervals()["p99"]


def slower(before: Judged, after: Judged) -> bool:
    found = ratio_interval(*before, *after)
    return found is not None and found[0] > THRESHOLD


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=80)
    parser.add_argument("--slower", type=float, default=2.0, help="factor of the second server")
    options = parser.parse_args()
    print(f"| latencies | requests | held | false | found at {options.slower:g} times |")
    print("|---|---|---|---|---|")
    for draw in (independent, batches, queue, heavy):
        random = np.random.default_rng(1)
        truth = float(np.percentile(draw(random, 500_000), 99))
        for count in REQUESTS:
            held = false = found = 0
            for _ in range(options.pairs):
                values = draw(random, count), draw(random, count)
                one, other = map(judged, values)
                held += one[1][0] <= truth <= one[1][1]
                false += slower(one, other) or slower(other, one)
                found += slower(one, judged(options.slower * values[1]))
            shares = " | ".join(f"{share / options.pairs:.2f}" for share in (held, false, found))
            print(f"| {draw.__name__} | {count} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
