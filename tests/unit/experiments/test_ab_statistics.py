"""Statistics of experiments against scipy 1.17.1 and statsmodels 0.15.0, and by simulation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from trtbuild.errors import UsageError
from trtbuild_experiments.options import PlanOptions
from trtbuild_experiments.planning import plan
from trtbuild_experiments.statistics import (
    always_valid,
    at_one_look,
    chi_square_tail,
    difference,
    holm,
    normal_quantile,
    quantile,
    ratio,
    sample_ratio,
    tuning,
    two_sided,
)
from trtbuild_experiments.statistics.estimates import Estimate


def close(expected: float) -> object:
    return pytest.approx(expected, rel=1e-9, abs=0)


FIRST = np.arange(40) ** 2 * 7 % 31 / 10
SECOND = np.arange(50) ** 2 * 5 % 37 / 10 + 0.4
BEFORE = (
    np.arange(40) * 11 % 17 / 10 + FIRST * 0.5,
    np.arange(50) * 13 % 19 / 10 + SECOND * 0.5,
)


def mean(values: np.ndarray) -> Estimate:
    return ratio(values, np.ones(len(values)))


def test_probabilities_agree_with_scipy() -> None:
    for statistic, freedom, expected in (
        (0.3, 1, 0.583882420770365),
        (3.841458820694124, 1, 0.04999999999999989),
        (12.5, 2, 0.0019304541362277095),
        (40, 3, 1.065509033425585e-08),
        (7.7, 5, 0.17356267022817284),
        (0.001, 4, 0.9999998750416589),
    ):
        assert chi_square_tail(statistic, freedom) == close(expected)
    assert two_sided(4.2) == close(2.669149803181262e-05)
    assert two_sided(-7) == close(2.55962508777167e-12)
    assert normal_quantile(0.9987) == close(3.011453758499792)


def test_the_sample_ratio_agrees_with_scipy() -> None:
    assert sample_ratio([50_500, 49_500], [1, 1]) == close(0.001565402258002549)
    assert sample_ratio([900, 120, 80], [8, 1, 1]) == close(0.008457283360378102)
    assert sample_ratio([10, 0], [1, 0]) == 1
    assert sample_ratio([10, 1], [1, 0]) == 0


def test_a_difference_of_means_agrees_with_statsmodels() -> None:
    found = difference(mean(FIRST), mean(SECOND))
    (low, high), chance = at_one_look(found.value, found.variance, 0.05)
    assert found.value / math.sqrt(found.variance) == close(5.086232292352863)
    assert chance == close(3.6524666254607984e-07)
    assert (low, high) == (close(0.6125017871125056), close(1.3804982128874947))


def test_an_adjusted_difference_is_a_regressions() -> None:
    found = difference(mean(FIRST), mean(SECOND), BEFORE)
    assert found.value == close(0.48399529363532906)
    assert found.variance_left is not None
    assert 0.3 < found.variance_left < 1
    nothing = (np.zeros(40), np.zeros(50))
    assert difference(mean(FIRST), mean(SECOND), nothing).variance_left == 1


def test_several_p_values_agree_with_statsmodels() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005, 0.8]) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.8])
    assert holm([]) == []


def test_an_always_valid_interval_leaves_0_out_when_its_p_value_says_so() -> None:
    rho2 = tuning(0.05, 5000)
    for z in np.linspace(0, 6, 61):
        (low, _), chance = always_valid(z, 1.0, 4000, rho2, 0.05)
        assert (low > 0) == (chance < 0.05)
    (low, _), chance = always_valid(3.2, 1.0, 4000, rho2, 0.05)
    (edge, _), _ = always_valid(3.2, 1.0, 4000, rho2, chance)
    assert edge == pytest.approx(0, abs=1e-9)
    assert always_valid(0.0, 0.0, 100, rho2, 0.05)[1] == 1
    assert always_valid(0.1, 0.0, 100, rho2, 0.05)[1] == 0


def test_a_plan_agrees_with_statsmodels() -> None:
    found = plan(PlanOptions(base=0.04, mde=0.1, users_per_day=5000))
    assert (found.fixed.users, found.fixed.treatment, found.fixed.days) == (75350, 37675, 16)
    found = plan(PlanOptions(base=350, mde=-0.05, sd=350, share=0.1))
    # one tail of 2.5 %: NormalIndPower().solve_power(0.05, alpha=0.025, ratio=1/9, "larger")
    assert found.fixed.users == math.ceil(
        (1.959963984540054 + 0.8416212335729143) ** 2 * 400 / 0.09
    )
    assert 1.7 < found.always_valid.users / found.fixed.users < 2
    few = plan(PlanOptions(base=0.5, mde=100, share=0.1))
    assert (few.fixed.users, few.fixed.treatment) == (300, 30)
    with pytest.raises(UsageError, match="too small to find"):
        plan(PlanOptions(base=1e-300, mde=1e-200))
    less = plan(PlanOptions(base=0.04, mde=0.1, variance_left=0.36))
    assert less.fixed.users == pytest.approx(75350 * 0.36, abs=1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "needs --mde"),
        ({"mde": 0.1}, "either --base, or --data"),
        ({"mde": 0.1, "base": 0.0}, "--base 0 is out"),
        ({"mde": 0.1, "base": 0.1, "data": ("x",), "metric": "y"}, "either --base"),
        ({"base": 0.1, "mde": 0.1, "experiment": "x"}, "--experiment names"),
        ({"base": 350, "mde": 0.1}, "is not a share"),
        ({"base": 0.1, "mde": 0.1, "share": 1}, "--share 1 is out of range"),
        ({"base": 0.1, "mde": 0.1, "power": 0}, "--power 0"),
        ({"base": 0.1, "mde": 0.1, "users_per_day": -1}, "--users-per-day -1"),
        ({"base": 0.1, "mde": 0.1, "sd": 0}, "--sd 0"),
        ({"base": 0.1, "mde": 0.1, "variance_left": 1.5}, "--variance-left 1.5"),
        ({"base": 0.1, "mde": float("nan")}, "needs --mde"),
        ({"base": 0.1, "mde": 0.1, "sd": math.inf}, "--sd inf"),
    ],
)
def test_a_plan_without_sense_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        PlanOptions(**options)


def test_looking_often_raises_no_false_alarms() -> None:
    """20 looks at 300 experiments without a difference; the benchmark does 1,000."""
    random, alarms, naive = np.random.default_rng(1), 0, 0
    rho2 = tuning(0.05, 2000)
    looks = np.arange(200, 4001, 200) // 2
    for _ in range(300):
        sides = random.lognormal(0, 0.5, size=(2, 2000))
        found = [difference(mean(sides[0, :n]), mean(sides[1, :n])) for n in looks]
        pairs = list(zip(found, looks, strict=True))
        alarms += any(
            always_valid(d.value, d.variance, 2 * n, rho2, 0.05)[1] < 0.05 for d, n in pairs
        )
        naive += any(at_one_look(d.value, d.variance, 0.05)[1] < 0.05 for d in found)
    assert alarms <= 15  # 5 %
    assert naive >= 60  # 20 %


def test_requests_of_a_user_are_not_counted_as_independent() -> None:
    """A rate per request: by user 5 % of false alarms, by request more than twice as many."""
    random, by_user, by_request = np.random.default_rng(2), 0, 0
    for _ in range(400):
        sides = []
        for _ in range(2):
            requests = random.geometric(0.1, 400).astype(float)
            clicks = random.binomial(requests.astype(int), random.beta(1, 9, 400)).astype(float)
            sides.append((clicks, requests))
        found = difference(ratio(*sides[0]), ratio(*sides[1]))
        by_user += at_one_look(found.value, found.variance, 0.05)[1] < 0.05
        rates = [clicks.sum() / requests.sum() for clicks, requests in sides]
        variance = sum(
            rate * (1 - rate) / requests.sum()
            for rate, (_, requests) in zip(rates, sides, strict=True)
        )
        by_request += abs(rates[0] - rates[1]) > 1.96 * math.sqrt(variance)
    assert 8 <= by_user <= 34  # 2 % to 8.5 %: four standard deviations of 400 runs
    assert by_request > 40


def test_an_imbalance_of_one_percent_is_found() -> None:
    random = np.random.default_rng(3)
    found = [sample_ratio([n, 100_000 - n], [1, 1]) for n in random.binomial(100_000, 0.51, 300)]
    assert sum(chance < 0.001 for chance in found) >= 297
    even = [sample_ratio([n, 100_000 - n], [1, 1]) for n in random.binomial(100_000, 0.5, 2000)]
    assert sum(chance < 0.001 for chance in even) <= 8


def test_a_quantile_and_its_deviation() -> None:
    """Of one request a user it is the known deviation of a sample quantile."""
    values = np.random.default_rng(4).exponential(1, 1000)
    value, variance = quantile(values, np.arange(1000), 1000, 0.9, resamples=400)
    assert value == np.sort(values)[899]
    assert math.sqrt(variance) == pytest.approx(math.sqrt(0.1 * 0.9 / 1000) / 0.1, rel=0.3)
    repeated = quantile(np.repeat(values, 5), np.repeat(np.arange(1000), 5), 1000, 0.9, 400)
    assert repeated[1] == pytest.approx(variance, rel=0.2)
