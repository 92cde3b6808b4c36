"""Time per output token (``tpot_ms``).

``(e2e - ttft) / (output tokens - tokens of the first chunk)``: the mean pace of one request after
its first chunk. Where that holds one token, as most servers send it, this is MLPerf's and ``vllm
bench``'s ``(e2e - ttft) / (output tokens - 1)``; tokens that arrived with the first took none of
the time (docs/adr/0107). Where nobody counts the chunks, the first is taken for one token. One
value for each request that goes on after its first chunk.
"""

from __future__ import annotations

from trtbuild.bench.model import Timeline

NAME = "tpot_ms"
TITLE = "Time per output token"


def values(line: Timeline) -> tuple[float, ...]:
    """Milliseconds."""
    after = line.output_tokens - line.first
    if after < 1 or not line.arrivals:
        return ()
    return ((line.arrivals[-1] - line.arrivals[0]) * 1e3 / after,)
