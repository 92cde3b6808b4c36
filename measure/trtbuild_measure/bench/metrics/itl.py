"""Inter-token latency (``itl_ms``).

The time from one chunk with text to the next, divided evenly over the tokens that the later one
completed: one value for each token after the first chunk. A chunk that completes no token (part of
a character, say) adds its time to the next tokens; if none follow, its time is dropped. Without a
token count for each chunk there is no value, because a chunk is not a token.
"""

from __future__ import annotations

from trtbuild_measure.bench.model import Timeline

NAME = "itl_ms"
TITLE = "Inter-token latency"


def values(line: Timeline) -> tuple[float, ...]:
    """Return milliseconds, one for each token after those of the first chunk."""
    if not line.tokens:
        return ()
    found: list[float] = []
    since = line.arrivals[0]
    for now, count in zip(line.arrivals[1:], line.tokens[1:], strict=True):
        if count:
            found.extend([(now - since) * 1e3 / count] * count)
            since = now
    return tuple(found)
