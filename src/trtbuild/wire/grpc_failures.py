"""What an error of gRPC means, in the terms of :mod:`trtbuild.wire.failures`."""

from __future__ import annotations

from typing import Any

from trtbuild.wire.failures import (
    DeadlineError,
    DroppedError,
    MalformedError,
    RefusedError,
    TooLargeError,
    UnreachableError,
    WireError,
)

# gRPC's own messages about a connection; a server that answers UNAVAILABLE has others.
_NO_CONNECTION = ("failed to connect", "connection refused", "dns resolution", "name resolution")
_LOST = (
    "socket closed", "connection reset", "goaway", "rst_stream", "broken pipe", "recvmsg",
    "connection closed", "stream removed", "endpoint closing",
)  # fmt: skip

# The HTTP status of a gRPC code, as google/rpc/code.proto (googleapis) assigns them.
_STATUS = {
    "CANCELLED": 499, "INVALID_ARGUMENT": 400, "DEADLINE_EXCEEDED": 504, "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409, "PERMISSION_DENIED": 403, "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400, "ABORTED": 409, "OUT_OF_RANGE": 400, "UNIMPLEMENTED": 501,
    "INTERNAL": 500, "UNAVAILABLE": 503, "DATA_LOSS": 500, "UNAUTHENTICATED": 401, "UNKNOWN": 500,
}  # fmt: skip


def failure(error: Any, seconds: float, *, answered: bool = False) -> WireError:
    """Return our error for an ``AioRpcError``; ``answered``: part of the answer arrived."""
    code, words = str(error.code().name), str(error.details() or "")
    lower = words.lower()
    if code == "DEADLINE_EXCEEDED":
        return DeadlineError(f"no complete answer within {seconds:g} s")
    if "http1.x server" in lower or ("frame" in lower and "settings" in lower):
        return MalformedError(f"the server does not speak gRPC: {words}")
    if code == "RESOURCE_EXHAUSTED" and "larger than max" in lower:
        return TooLargeError(words)
    if code == "UNAVAILABLE" and any(part in lower for part in _NO_CONNECTION):
        return DroppedError(words, answered=True) if answered else UnreachableError(words)
    if code in ("UNAVAILABLE", "INTERNAL", "CANCELLED") and any(p in lower for p in _LOST):
        return DroppedError(words, answered=answered)
    headers = {str(key).lower(): _text(value) for key, value in error.trailing_metadata() or ()}
    return RefusedError(words or code, status=_STATUS.get(code, 500), code=code, headers=headers)


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
