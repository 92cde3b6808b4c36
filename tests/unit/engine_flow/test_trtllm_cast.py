"""Casts between float types: exhaustive where 16 bits allow it, against exact arithmetic else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtbuild_engine_flow.converter.cast import cast, to_float32

ALL = np.arange(65536, dtype=np.uint32).astype(np.uint16)
AS_FLOAT = (ALL.astype(np.uint32) << 16).view(np.float32)
with np.errstate(over="ignore"):
    FINITE_F16 = np.isfinite(AS_FLOAT.astype(np.float16))


def test_every_bfloat16_to_float16() -> None:
    fits = ALL[FINITE_F16]
    expected = AS_FLOAT[FINITE_F16].astype(np.float16)
    assert (cast(fits, "BF16", "F16").view(np.uint16) == expected.view(np.uint16)).all()


def test_few_small_values_among_many_take_the_other_path() -> None:
    normal = np.full(4096, 0x3F80, np.uint16)
    for small in (0x0000, 0x8000, 0x0001, 0x3300, 0xB380, 0x387F):
        mixed = normal.copy()
        mixed[17] = small
        expected = to_float32(mixed, "BF16").astype(np.float16)
        assert (cast(mixed, "BF16", "F16").view(np.uint16) == expected.view(np.uint16)).all()


@pytest.mark.parametrize("pattern", [*ALL[~FINITE_F16][::997].tolist(), 0x7F80, 0xFF80, 0x4780])
def test_every_bfloat16_beyond_float16_is_refused(pattern: int) -> None:
    values = np.array([0x3F80, pattern], np.uint16)
    with pytest.raises(ValueError, match=r"^1 (NaN|infinite values|values beyond float16)"):
        cast(values, "BF16", "F16")


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_float32_to_the_nearest_bfloat16(value: float) -> None:
    values = np.array([value], np.float32)
    try:
        found = float(to_float32(cast(values, "F32", "BF16"), "BF16")[0])
    except ValueError:
        assert abs(value) >= 3.39617752923046e38  # halfway from the largest bfloat16 to 2**128
        return
    # the two bfloat16 around it, exactly, in float64
    below = (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)[0]
    above = ((values.view(np.uint32) >> 16) + np.uint32(1) << 16).view(np.float32)[0]
    distances = [abs(float(near) - value) for near in (below, above)]
    assert abs(found - value) == min(distances)
    if distances[0] == distances[1]:
        assert not cast(values, "F32", "BF16")[0] & 1, "ties to even"


@pytest.mark.parametrize("source", ["F64", "F32", "F16", "BF16"])
@pytest.mark.parametrize("target", ["F32", "F16", "BF16"])
def test_values_that_both_types_have_survive(source: str, target: str) -> None:
    values = np.array([0.0, -0.0, 1.0, -2.5, 0.0078125, 240.0, 2.0**-14], np.float32)
    stored = {
        "BF16": lambda: (values.view(np.uint32) >> 16).astype(np.uint16),
        "F16": lambda: values.astype(np.float16),
        "F32": lambda: values,
        "F64": lambda: values.astype(np.float64),
    }[source]()
    found = to_float32(cast(stored, source, target), target)
    assert (found.view(np.uint32) == values.view(np.uint32)).all()


@pytest.mark.parametrize("target", ["F32", "F16", "BF16"])
@pytest.mark.parametrize(("broken", "said"), [(np.nan, "1 NaN"), (np.inf, "1 infinite values")])
def test_what_was_not_finite_is_refused(target: str, broken: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        cast(np.array([1.0, broken], np.float32), "F32", target)


def test_the_worst_value_is_named() -> None:
    with pytest.raises(ValueError, match=r"2 values beyond float16 .*, such as -99999"):
        cast(np.array([70000.0, -99999.0, 1.0], np.float32), "F32", "F16")
    with pytest.raises(ValueError, match=r"1 values beyond bfloat16"):
        cast(np.array([3.4e38], np.float32), "F32", "BF16")
    with pytest.raises(ValueError, match=r"1 values beyond float32"):
        cast(np.array([1e300]), "F64", "F32")


def test_a_double_becomes_a_half_by_way_of_a_float() -> None:
    """As torch's: just above the middle of two halves, which the float in between forgets."""
    values = np.array([1 + 2**-11 + 2**-30, 1 + 2**-11 + 2**-20])
    assert cast(values, "F64", "F16").tolist() == [1.0, 1 + 2**-10]
