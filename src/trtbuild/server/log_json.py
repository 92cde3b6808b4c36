"""A server's log in the form of the gateway's: one JSON object a line."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from trtbuild.jsonlog import log_line
from trtbuild.server import logs

_LOGGER = "triton"
# In messages about requests; the server writes <id_unknown> where the client sent none.
_REQUEST = re.compile(r"\[request id: (?!<)([^\]]+)\]")


def as_json(text: str, now: datetime | None = None) -> str:
    """Return a line of the server, of its libraries, or what a model printed, as JSON.

    Text that is not a log line has the logger ``output`` and the level ``info``. The server leaves
    the year out: ``now`` gives it.
    """
    now = now or datetime.now(UTC)
    line = logs.parse(text)
    if not line.level:
        return log_line("info", "output", line.message, at=now)
    request = _REQUEST.search(line.message)
    fields = {"source": line.source} | ({"request_id": request[1]} if request else {})
    level = {"fatal": "critical"}.get(line.level, line.level)
    logger = "vllm" if text.startswith("(") or ".py:" in line.source else _LOGGER
    at = logs.moment(text, now) or now
    return log_line(level, logger, line.message, at=at, fields=fields)
