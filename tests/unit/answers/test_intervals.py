"""Intervals and tests of shares and pairs, against scipy where it has them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtbuild_measure.intervals import mcnemar, paired_shares, sign_flips, wilson

COUNT = st.integers(0, 60)


@given(count=COUNT, more=COUNT)
def test_wilsons_interval_holds_the_share_and_its_defining_equation(count: int, more: int) -> None:
    of = count + more + 1
    share, (low, high) = count / of, wilson(count, of)
    assert 0 <= low <= share <= high <= 1
    for end in (low, high):
        if 0 < end < 1:  # where a share of so much is just two standard errors away
            assert abs(end - share) == pytest.approx(1.959964 * (end * (1 - end) / of) ** 0.5)


def test_newcombes_published_examples() -> None:
    # Newcombe 1998, table II: 50 pairs, method 10.
    assert paired_shares(36, 2, 12, 0) == pytest.approx((0.0569, 0.3404), abs=5e-5)


@given(both=COUNT, first=COUNT, second=COUNT, neither=COUNT)
def test_the_interval_turns_with_the_order_of_the_pair(
    both: int, first: int, second: int, neither: int
) -> None:
    neither += 1
    low, high = paired_shares(both, first, second, neither)
    apart = (second - first) / (both + first + second + neither)
    assert -1 <= low <= apart <= high <= 1
    assert paired_shares(both, second, first, neither) == pytest.approx((-high, -low))


def test_exact_tests() -> None:
    assert mcnemar(0, 0) == 1
    assert mcnemar(0, 5) == pytest.approx(2 / 32)
    assert mcnemar(2, 12) == mcnemar(12, 2) == pytest.approx(0.012939453125)
    assert mcnemar(2000, 2000) == 1
    # All 64 signs of six numbers: 6 give a mean as far from 0.
    assert sign_flips(np.array([1.0, 2, 3, 4, 5, -1])) == pytest.approx(6 / 64, abs=0.01)
    assert sign_flips(np.zeros(4)) == 1
