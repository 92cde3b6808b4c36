"""Confidence intervals of shares."""

from __future__ import annotations

import math

_Z = 1.96


def share_interval(count: int, total: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share."""
    if not total:
        return 0.0, 1.0
    share, square = count / total, _Z * _Z / total
    middle = share + square / 2
    spread = _Z * math.sqrt(share * (1 - share) / total + square / total / 4)
    return (middle - spread) / (1 + square), (middle + spread) / (1 + square)
