"""The gateway's own log, without personal data."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from trtbuild_gateway.access.masking import Rule, mask_whole
from trtbuild_gateway.failures import ApiError
from trtbuild_gateway.telemetry.logs import identity

_OWN_ID = re.compile("[0-9a-f]{32}")
_LOGGERS = ("trtbuild.gateway", "uvicorn.error")


class LogFilter(logging.Filter):
    """Masks messages and tracebacks. Servers quote what they were sent, and so do exceptions.

    Args:
        rules: What to mask; without any nothing is done.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        super().__init__()
        self._rules = tuple({rule.pattern.name: rule for rule in rules}.values())

    def install(self) -> None:
        """Look at the messages of the gateway and of the HTTP server."""
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            for one in [one for one in logger.filters if isinstance(one, LogFilter)]:
                logger.removeFilter(one)  # that of earlier settings
            if self._rules:
                logger.addFilter(self)

    def remove(self) -> None:
        """Look at them no more."""
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask a record; it is always kept."""
        record.msg, record.args = self._masked(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = self._masked(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        record.__dict__ |= {
            "fields": self._without(getattr(record, "fields", {})),
            "identity": {name: self._of_client(id) for name, id in identity().items()},
        }
        return True

    def _without(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Mask the fields of a JSON line: a caller's id may be an e-mail address."""
        return {
            name: self._masked(value) if isinstance(value, str) else value
            for name, value in fields.items()
        }

    def _of_client(self, id: str) -> str:
        """Mask an id that a client chose; those of the gateway are random."""
        return id if _OWN_ID.fullmatch(id) else self._masked(id)

    def _masked(self, text: str) -> str:
        try:
            return mask_whole(self._rules, text, Counter(), "log")
        except ApiError:
            return "(a message that could not be searched in time for what is masked)"
