"""Time per output token (``tpot_ms``).

``(e2e - ttft) / (output tokens - tokens of the first chunk)``: the mean pace of one request after
its first chunk. If that holds one token, as from most servers, this is MLPerf's and ``vllm
bench``'s ``(e2e - ttft) / (output tokens - 1)``; tokens that arrived with the first took none of
the time (docs/adr/0107). Without a count for each chunk, the first is assumed to hold one token.
One value for each request with more than one chunk.
"""

from __future__ import annotations

from trtbuild_measure.bench.model import Timeline

NAME = "tpot_ms"
TITLE = "Time per output token"


def values(line: Timeline) -> tuple[float, ...]:
    """Return milliseconds."""
    after = line.output_tokens - line.first
    if after < 1 or not line.arrivals:
        return ()
    return ((line.arrivals[-1] - line.arrivals[0]) * 1e3 / after,)
