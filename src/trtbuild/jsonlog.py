"""The JSON form of a log line, one for the gateway, the server and every long command."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class LogFormat(StrEnum):
    """How a log is written."""

    TEXT = "text"
    JSON = "json"


VARIABLE = "TRTBUILD_LOG_FORMAT"
"""A :class:`LogFormat`, for the progress of every command and the log of its server."""


def chosen_format() -> LogFormat:
    """The form that the environment asks for; text unless it is ``json``."""
    is_json = os.environ.get(VARIABLE) == LogFormat.JSON
    return LogFormat.JSON if is_json else LogFormat.TEXT


def log_line(
    level: str,
    logger: str,
    message: str,
    *,
    at: datetime | None = None,
    fields: Mapping[str, Any] | None = None,
) -> str:
    """Return a line, without its end.

    Args:
        level: As Python's logging names it, in lower case.
        logger: Who wrote it: ``trtbuild.gateway``, ``triton``, ``vllm``.
        message: The text.
        at: When; default: now.
        fields: More keys, such as ``request_id`` and ``trace_id``.
    """
    moment = (at or datetime.now(UTC)).astimezone(UTC)
    made = {
        "time": moment.isoformat(timespec="milliseconds"),
        "level": level,
        "logger": logger,
        "message": message,
        **(fields or {}),
    }
    return json.dumps(made, default=str)
