"""Inter-chunk latency (``icl_ms``).

The time between two consecutive chunks with text, whatever number of tokens they hold: what a
reader of the stream waits for. One value for each chunk but the first.
"""

from __future__ import annotations

from itertools import pairwise

from trtbuild_measure.bench.model import Timeline

NAME = "icl_ms"
TITLE = "Inter-chunk latency"


def values(line: Timeline) -> tuple[float, ...]:
    """Return milliseconds."""
    return tuple((later - sooner) * 1e3 for sooner, later in pairwise(line.arrivals))
