"""How long requests of a model waited for a server."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

BOUNDS = (0.0, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""The longest waits of the buckets, in seconds; the first is that of requests that did not wait."""


class Waits:
    """Counts waits in buckets.

    Attributes:
        total: Of all waits, in seconds.
    """

    def __init__(self) -> None:
        self.total = 0.0
        self._counts = [0] * (len(BOUNDS) + 1)

    def note(self, seconds: float) -> None:
        """Count one wait."""
        self.total += seconds
        self._counts[bisect_left(BOUNDS, seconds)] += 1

    def buckets(self) -> Iterator[tuple[str, int]]:
        """Yield each bound as Prometheus writes it, with how many waits were not longer."""
        return zip((*map(str, BOUNDS), "+Inf"), accumulate(self._counts), strict=True)
