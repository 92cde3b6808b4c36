"""Times as people write them on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from trtbuild.errors import UsageError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def span_of(text: str) -> timedelta:
    """Return a span such as ``90d``.

    Raises:
        UsageError: It is none.
    """
    match = re.fullmatch(r"(\d{1,6})([smhdw])", text)
    if match is None:
        raise UsageError(f"{text!r} is not a time span", fix="write 30m, 12h, 90d or 8w")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def until(text: str, now: datetime) -> datetime:
    """Return a point in time given as a span from now or as a date.

    Raises:
        UsageError: It is neither, or it is not later than now.
    """
    try:
        if re.fullmatch(r"\d+[smhdw]", text):
            found = now + span_of(text)
        else:
            found = datetime.fromisoformat(text)
            found = found if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r} is neither a time span nor a date", fix="write 90d or 2027-01-31"
        ) from None
    if found <= now:
        raise UsageError(f"{text!r} is in the past", fix="write 90d or a later date")
    return found
