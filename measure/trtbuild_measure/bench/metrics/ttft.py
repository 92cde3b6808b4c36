"""Time to first token (``ttft_ms``).

From the moment the request was due to the arrival of the first chunk with text. A chunk that only
names the role, an empty chunk, a keep-alive and an echo of the prompt do not count. One value for
each request with text.
"""

from __future__ import annotations

from trtbuild_measure.bench.model import Timeline

NAME = "ttft_ms"
TITLE = "Time to first token"


def values(line: Timeline) -> tuple[float, ...]:
    """Return milliseconds."""
    return ((line.arrivals[0] - line.intended) * 1e3,) if line.arrivals else ()
