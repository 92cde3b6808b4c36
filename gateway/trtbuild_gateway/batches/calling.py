"""Calls an endpoint of the gateway without a connection."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message

from trtbuild_batch.engine import CallError, Kind, Outcome

_KINDS = {408: Kind.TIMEOUT, 429: Kind.RATE, 502: Kind.UNAVAILABLE, 503: Kind.UNAVAILABLE,
          504: Kind.UNAVAILABLE}  # fmt: skip


async def asked(app: ASGIApp, path: str, body: bytes) -> Outcome:
    """Return the answer of an endpoint to a body. CallError if it is an error."""
    answer = await _called(app, path, body)
    if answer.status == 200:
        return _outcome(answer.body)
    kind = _KINDS.get(answer.status, Kind.SERVER if answer.status >= 500 else Kind.REFUSED)
    message = answer.body.decode("utf-8", "replace")
    with contextlib.suppress(msgspec.DecodeError, LookupError, TypeError):
        error = msgspec.json.decode(answer.body)["error"]
        message = str(error["message"])
        if error.get("code") == "context_length_exceeded":
            kind = Kind.CONTEXT
    wait = answer.headers.get("retry-after", "")
    raise CallError(kind, message, retry_after=float(wait) if wait.isdecimal() else None)


@dataclass(slots=True)
class _Answer:
    status: int = 500
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


async def _called(app: ASGIApp, path: str, body: bytes) -> _Answer:
    answer = _Answer()
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()  # this client never leaves
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            pairs = message.get("headers", ())
            answer.headers = {name.decode().lower(): value.decode() for name, value in pairs}
        else:
            answer.body += message.get("body", b"")

    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": None,
        "server": ("127.0.0.1", 0),
        "path_params": {},
    }
    await app(scope, receive, send)
    return answer


def _outcome(body: bytes) -> Outcome:
    usage: dict[str, Any] = {}
    with contextlib.suppress(msgspec.DecodeError, LookupError, TypeError, AttributeError):
        usage = dict(msgspec.json.decode(body).get("usage") or {})
    given = usage.get("prompt_tokens", usage.get("input_tokens"))
    made = usage.get("completion_tokens", usage.get("output_tokens"))
    return Outcome(body.decode("utf-8"), "", given, made)
