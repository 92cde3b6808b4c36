"""Bitwise casts between float types, equal to torch's ``Tensor.to``, without torch.

bfloat16 has no numpy type; it is kept as ``uint16`` bit patterns. Rounding is to nearest, ties
to even. A value that is or becomes infinite or NaN is an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[Any]

NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""The numpy type that holds a safetensors type."""

# bfloat16 bit patterns without their sign: the smallest that is a normal float16 (2**-14), and
# the smallest beyond its range (2**16; the largest float16 is 65504, and no bfloat16 lies between
# it and 2**16 that would round up).
_NORMAL, _BEYOND = 0x3880, 0x4780
_MAGNITUDE, _SIGN = 0x7FFF, 0x8000
_INFINITE = 0x7F80
_REBASE = (127 - 15) << 10  # difference of the exponents' biases, in float16's place


def cast(values: Array, source: str, target: str, plus: float = 0.0) -> Array:
    """Cast ``values`` from ``source`` to ``target``, after adding ``plus`` in float32.

    Raises:
        ValueError: A value is NaN or infinite, or becomes infinite; says how many and which.
    """
    if plus:
        import numpy as np

        values, source = to_float32(values, source) + np.float32(plus), "F32"
    made = _cast(values, source, target)
    if source != "BF16" or target != "F16":  # that one checks on its way
        _require_finite(values, source, made, target)
    return made


def _cast(values: Array, source: str, target: str) -> Array:
    import numpy as np

    if source == target:
        return values
    if source == "BF16" and target == "F16":
        return _bfloat16_to_float16(values)
    with np.errstate(over="ignore", invalid="ignore"):  # looked for afterwards, with its place
        if target == "BF16":
            return to_bfloat16(to_float32(values, source))
        if source == "BF16":
            return to_float32(values, source).astype(NUMPY[target], copy=False)
        if source == "F64" and target == "F16":
            values = values.astype(np.float32)  # torch rounds twice here, too
        return values.astype(NUMPY[target])


def to_float32(values: Array, source: str) -> npt.NDArray[np.float32]:
    """Return any of the types as float32."""
    import numpy as np

    if source != "BF16":
        return values.astype(np.float32, copy=False)
    return (values.astype(np.uint32) << np.uint32(16)).view(np.float32)


def to_bfloat16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Return bit patterns of the nearest bfloat16 to finite values, ties to even."""
    import numpy as np

    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    odd += np.uint32(0x7FFF)
    odd += bits
    odd >>= np.uint32(16)
    return odd.astype(np.uint16)


def _bfloat16_to_float16(bits: Array) -> Array:
    """Integer arithmetic: bfloat16's 7 bits of fraction fit float16's 10, so a value in the range
    of normal float16 moves without rounding. The few below are converted one by one.
    """
    import numpy as np

    magnitude = bits & np.uint16(_MAGNITUDE)
    if magnitude.size and int(magnitude.max()) >= _BEYOND:
        raise ValueError(_complaint(to_float32(bits, "BF16"), magnitude >= _BEYOND, "F16"))
    small = np.flatnonzero(magnitude.reshape(-1) < _NORMAL)
    if small.size > magnitude.size // 8:
        return to_float32(bits, "BF16").astype("<f2")
    magnitude <<= np.uint16(3)  # the exponent's top bits fall off, and the difference brings
    magnitude -= np.uint16(_REBASE & 0xFFFF)  # back what they should be, modulo 2**16
    magnitude |= bits & np.uint16(_SIGN)
    if small.size:
        exact = to_float32(bits.reshape(-1)[small], "BF16").astype("<f2")
        magnitude.reshape(-1)[small] = exact.view(np.uint16)
    return magnitude.view("<f2")


def _require_finite(values: Array, source: str, converted: Array, target: str) -> None:
    """Raise ValueError unless every element of ``converted`` is finite."""
    import numpy as np

    if target == "BF16":
        broken = (converted & np.uint16(_MAGNITUDE)) >= np.uint16(_INFINITE)
    else:
        broken = ~np.isfinite(converted)
    if broken.any():
        wide = to_float32(values, source) if source == "BF16" else values.astype(np.float64)
        raise ValueError(_complaint(wide, broken, target))


def _complaint(values: Array, broken: Array, target: str) -> str:
    import numpy as np

    found = values[broken]
    nans, infinite = int(np.isnan(found).sum()), int(np.isinf(found).sum())
    large = found.size - nans - infinite
    names = {"F16": "float16 (65504 at most)", "BF16": "bfloat16", "F32": "float32"}
    parts = [
        f"{count:,} {what}"
        for count, what in (
            (nans, "NaN"),
            (infinite, "infinite values"),
            (large, f"values beyond {names[target]}"),
        )
        if count
    ]
    finite = found[np.isfinite(found)]
    worst = f", such as {finite[np.abs(finite).argmax()]:g}" if finite.size else ""
    return " and ".join(parts) + worst
