"""What can go wrong between a client and a server, the same for HTTP and gRPC."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time

UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError, ArithmeticError)
"""What reading an answer of unexpected form raises; the last for numbers such as 1e999."""


class WireError(Exception):
    """A call without an answer, or with an error as its answer."""


class UnreachableError(WireError):
    """The connection failed: nothing listens, no such host, or TLS failed."""


class DeadlineError(WireError):
    """The answer was not complete in time; the request has been cancelled."""


class DroppedError(WireError):
    """The connection ended before the answer did; ``answered``: after its first byte."""

    def __init__(self, message: str, *, answered: bool) -> None:
        super().__init__(message)
        self.answered = answered


class MalformedError(WireError):
    """The response violates the protocol."""


class TooLargeError(MalformedError):
    """A header, an event or a message is longer than this client accepts."""


class RefusedError(WireError):
    """The server answered with an error.

    Attributes:
        status: The HTTP status; for gRPC the one that its code corresponds to.
        code: gRPC's name of the code (``NOT_FOUND``); empty over HTTP.
        message: The server's message.
        retry_after: Seconds to wait before a retry, as requested by the server; None without.
        headers: The answer's headers, names in lower case; for gRPC its trailing metadata.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.headers: Mapping[str, str] = headers or {}

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait, from ``Retry-After`` or gRPC's ``grpc-retry-pushback-ms``."""
        return retry_after(self.headers)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds before a retry from ``headers`` (lower case), or None."""
    pushback = headers.get("grpc-retry-pushback-ms", "")
    if pushback.isascii() and pushback.isdigit():
        return float(pushback) / 1000
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time())
    except (ValueError, OverflowError):
        return None


# What names files of the server: frames after a message (Python, C++), the line of a check, and the
# frames before an exception.
_FRAMES = re.compile(
    r"\n *At:\n.*|\n1 +0x[0-9a-f]{6,} .*| \(/[^()\s]+:\d+\)"
    r"|Traceback \(most recent call last\):\n(?:[ \t][^\n]*\n)+",
    re.DOTALL,
)


def without_frames(message: str) -> str:
    """Return a server's message on one line, without the frames of its code."""
    return " ".join(_FRAMES.sub("", message).split())
