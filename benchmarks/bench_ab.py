"""How often `ab report` is wrong, and how often it finds what is there.

    python benchmarks/bench_ab.py [--runs 1000]

Experiments are drawn, so the truth is known. *Alarms* are differences that are not there, at a
level of 5 %; what they are compared with is what is usually done instead.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator

import numpy as np

from trtbuild_experiments.statistics import (
    always_valid,
    at_one_look,
    difference,
    quantile,
    ratio,
    sample_ratio,
    tuning,
)
from trtbuild_experiments.statistics.estimates import Difference

ALPHA = 0.05
USERS, LOOKS = 4000, 20
Random = np.random.Generator


def looks(random: Random, slower: float) -> Iterator[tuple[int, Difference]]:
    """20 looks at an experiment whose users keep coming; the value of a user is log-normal."""
    control, treatment = random.lognormal(0, 0.5, size=(2, USERS // 2))
    treatment = treatment * slower
    for count in np.linspace(USERS / LOOKS, USERS, LOOKS, dtype=int) // 2:
        ones = np.ones(count)
        yield (
            2 * int(count),
            difference(ratio(control[:count], ones), ratio(treatment[:count], ones)),
        )


def looking(random: Random, runs: int) -> None:
    rho2 = tuning(ALPHA, USERS / 2)
    print(f"{LOOKS} looks, {USERS} users: alarms, and a difference of 5 % found")
    for slower in (1.0, 1.05):
        valid, fixed, last, ended = 0, 0, 0, []
        for _ in range(runs):
            found = list(looks(random, slower))
            stops = [
                users
                for users, one in found
                if always_valid(one.value, one.variance, users, rho2, ALPHA)[1] < ALPHA
            ]
            once = [at_one_look(one.value, one.variance, ALPHA)[1] < ALPHA for _, one in found]
            valid, fixed, last = valid + bool(stops), fixed + any(once), last + once[-1]
            ended.append(stops[0] if stops else USERS)
        print(
            f"  true ratio {slower}: always valid {valid / runs:.1%}, fixed at every look "
            f"{fixed / runs:.1%}, fixed at the end {last / runs:.1%}; ends at {np.mean(ended):.0f}"
        )


def returning(random: Random, runs: int, count: int = 2000) -> None:
    """The same looks while users come back: what is known of each of them changes, too."""
    rho2, alarms = tuning(ALPHA, USERS / 2), 0
    since = np.arange(count) * LOOKS // count  # the look before which a user came
    later = np.arange(LOOKS)[None, :] >= since[:, None]
    for _ in range(runs):
        sides = []
        for _ in range(2):
            requests = random.poisson(random.gamma(1, 1, (count, 1)) * later)
            requests[np.arange(count), since] += 1
            clicks = random.binomial(requests, random.beta(1, 9, (count, 1)))
            sides.append([np.cumsum(one, axis=1).astype(float) for one in (clicks, requests)])
        for look in range(LOOKS):
            known = since <= look
            first, second = (ratio(a[known, look], b[known, look]) for a, b in sides)
            one, users = difference(first, second), 2 * int(known.sum())
            if always_valid(one.value, one.variance, users, rho2, ALPHA)[1] < ALPHA:
                alarms += 1
                break
    print(f"clicks per request, {LOOKS} looks, users come back: alarms {alarms / runs:.1%}")


def ratios(random: Random, runs: int, count: int = 1000) -> None:
    """Clicks per request; users differ in how much they ask and how often they click."""
    by_user = by_request = 0
    for _ in range(runs):
        sides = []
        for _ in range(2):
            requests = random.geometric(0.1, count)
            clicks = random.binomial(requests, random.beta(1, 9, count))
            sides.append((clicks.astype(float), requests.astype(float)))
        one = difference(ratio(*sides[0]), ratio(*sides[1]))
        by_user += at_one_look(one.value, one.variance, ALPHA)[1] < ALPHA
        rates = [clicks.sum() / requests.sum() for clicks, requests in sides]
        terms = zip(rates, sides, strict=True)
        variance = sum(rate * (1 - rate) / requests.sum() for rate, (_, requests) in terms)
        by_request += at_one_look(rates[1] - rates[0], variance, ALPHA)[1] < ALPHA
    told = f"by user {by_user / runs:.1%}, by request {by_request / runs:.1%}"
    print(f"clicks per request: alarms {told}")


def quantiles(random: Random, runs: int, count: int = 500) -> None:
    alarms = 0
    for _ in range(runs):
        sides = []
        for _ in range(2):
            requests = random.geometric(0.2, count)
            users = np.repeat(np.arange(count), requests)
            values = random.lognormal(0, 0.5, count)[users] * random.lognormal(0, 0.3, len(users))
            sides.append(quantile(values, users, count, 0.95, 300))
        (low, first), (high, second) = sides
        alarms += at_one_look(high - low, first + second, ALPHA)[1] < ALPHA
    print(f"p95 over requests: alarms {alarms / runs:.1%}")


def before(random: Random, runs: int, count: int = 1000, rho: float = 0.8) -> None:
    left, alarms = [], 0
    for _ in range(runs):
        earlier = random.normal(size=(2, count))
        now = rho * earlier + math.sqrt(1 - rho**2) * random.normal(size=(2, count))
        ones = np.ones(count)
        one = difference(ratio(now[0], ones), ratio(now[1], ones), (earlier[0], earlier[1]))
        left.append(one.variance_left)
        alarms += at_one_look(one.value, one.variance, ALPHA)[1] < ALPHA
    told = f"{np.mean(np.array(left, dtype=float)):.1%} of the variance left"
    print(f"values from before, correlation {rho}: {told}, alarms {alarms / runs:.1%}")


def divided(random: Random, runs: int, users: int = 100_000) -> None:
    found = {}
    for share in (0.5, 0.505, 0.51):
        counts = random.binomial(users, share, runs)
        found[share] = np.mean([sample_ratio([n, users - n], [1, 1]) < 0.001 for n in counts])
    told = ", ".join(f"{share:.1%}: {hits:.1%}" for share, hits in found.items())
    print(f"sample ratio of {users} users, found at a share of {told}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    runs = parser.parse_args().runs
    stages: list[Callable[[Random, int], None]] = [
        looking,
        returning,
        ratios,
        quantiles,
        before,
        divided,
    ]
    for stage in stages:
        stage(np.random.default_rng(0), runs)


if __name__ == "__main__":
    main()
