"""Values of rows that no report can hold."""

from __future__ import annotations

import math
from typing import Any

import pytest

from trtbuild_batch.inputs import Row
from trtbuild_drift.options import Columns
from trtbuild_drift.texts import _read, _vector


@pytest.mark.parametrize("number", [10**400, 1e300, math.nan, math.inf, "1", None])
def test_numbers_that_no_vector_has(number: Any) -> None:
    assert _vector([1.0, number]) is None


def test_a_segment_can_be_written() -> None:
    found = _read(Row(0, {"text": "a", "plan": "x\ud800"}), Columns(text="text", segment="plan"))
    assert found[0] == "x?"
