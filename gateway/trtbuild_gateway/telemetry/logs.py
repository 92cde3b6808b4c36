"""The gateway's log on standard error: as text, or as one JSON object a line.

A line has no text of a prompt or an answer.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from trtbuild.jsonlog import log_line
from trtbuild_gateway.seams import Call, Outcome
from trtbuild_gateway.settings import Settings

_log = logging.getLogger("trtbuild.gateway")
_OURS = ("trtbuild.gateway", "trtbuild_gateway", "uvicorn.error")
_TEXT = "%(asctime)s %(levelname)s %(message)s"

_request: ContextVar[Call | None] = ContextVar("request", default=None)


class JsonFormatter(logging.Formatter):
    """Formats a record as a JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields: dict[str, Any] = {
            **getattr(record, "identity", identity()),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            fields["exception"] = record.exc_text
        at = datetime.fromtimestamp(record.created, UTC)
        level = record.levelname.lower()
        return log_line(level, record.name, record.getMessage(), at=at, fields=fields)


def identity() -> dict[str, str]:
    """Return what identifies the request that a line is about."""
    call = _request.get()
    if call is None:
        return {}
    return {"request_id": call.id} | ({"trace_id": call.trace_id} if call.trace_id else {})


@contextlib.contextmanager
def about(call: Call) -> Iterator[None]:
    """Give every JSON line of the block the ids of a call."""
    before = _request.set(call)
    try:
        yield
    finally:
        _request.reset(before)


def configure(settings: Settings) -> None:
    """Write the process's log to standard error as configured."""
    handler = logging.StreamHandler()
    as_json = settings.log_format == "json"
    handler.setFormatter(JsonFormatter() if as_json else logging.Formatter(_TEXT))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in _OURS:
        logging.getLogger(name).setLevel(settings.log_level.upper())


def ended(call: Call, outcome: Outcome) -> None:
    """Log a request that has ended."""
    if not _log.isEnabledFor(logging.INFO):
        return
    fields = fields_of(call, outcome)
    shown = " ".join(f"{name}={value}" for name, value in fields.items() if name != "endpoint")
    _log.info("request %s: %s %s", call.id, call.endpoint, shown, extra={"fields": fields})


def fields_of(call: Call, outcome: Outcome) -> dict[str, str | int | float]:
    """Return how a request ended, without what is not known; times are in milliseconds."""
    made: dict[str, str | int | float] = {
        "endpoint": call.endpoint,
        "status": outcome.status,
        "error": outcome.error,
        "model": call.model,
        "key_id": call.caller.id,
        "prompt_tokens": outcome.prompt_tokens,
        "completion_tokens": outcome.completion_tokens,
        "duration_ms": _milliseconds(call, outcome.ended),
    }
    if outcome.first_token:
        made["first_token_ms"] = _milliseconds(call, outcome.first_token)
    return {name: value for name, value in made.items() if value != ""}


def _milliseconds(call: Call, moment: float) -> float:
    return round(1000 * (moment - call.started), 3)
