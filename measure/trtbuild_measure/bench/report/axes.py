"""Round numbers for axes."""

from __future__ import annotations

import math
from collections.abc import Sequence


def ticks(low: float, high: float) -> list[float]:
    """Return about five round values that cover ``low`` to ``high``."""
    if high <= low:
        high = low + 1
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2, 5, 10, 20, 50 … within a range; only powers of ten if it is wide."""
    factors: Sequence[int] = (1, 2, 5) if high / low < 1e3 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [factor * 10.0**power for power in powers for factor in factors]
    return [value for value in found if low * 0.999 <= value <= high * 1.001]


def short(value: float) -> str:
    """Format a number for an axis: ``0.5``, ``250``, ``12k``."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:g}k"
    return f"{value:.4g}"
