"""End-to-end latency (``e2e_ms``).

From the moment the request was due to the arrival of the last chunk with text, or to the
end of the stream where there was no text at all. Chunks that only carry usage or a reason to stop
come after the answer and do not lengthen it.
"""

from __future__ import annotations

from trtbuild_measure.bench.model import Timeline

NAME = "e2e_ms"
TITLE = "End-to-end latency"


def values(line: Timeline) -> tuple[float, ...]:
    """Return milliseconds."""
    last = line.arrivals[-1] if line.arrivals else line.ended
    return ((last - line.intended) * 1e3,)
