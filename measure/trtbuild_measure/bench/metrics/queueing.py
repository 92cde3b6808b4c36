"""Queueing at the client (``client_queue_ms``).

From the moment the request was due to the moment its bytes were given to the socket: the
client's own delay (a timer, a connection to open, no free core). It is part of every other
latency; when it is more than a small share of them, the client is the bottleneck.
"""

from __future__ import annotations

from trtbuild_measure.bench.model import Timeline

NAME = "client_queue_ms"
TITLE = "Queueing at the client"


def values(line: Timeline) -> tuple[float, ...]:
    """Return milliseconds."""
    return ((line.started - line.intended) * 1e3,)
