"""Shared by the HTTP targets: send a request, time the events, classify failures."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import time
from functools import partial
from typing import Any

from trtbuild.errors import ServerError
from trtbuild.wire.connections import stale
from trtbuild.wire.failures import DroppedError, MalformedError
from trtbuild.wire.pool import Pool
from trtbuild.wire.response import LIMIT, Event, Response
from trtbuild_measure.bench.model import Stream

# A line that does not belong to an event stream: HTML, an object, plain text.
_NO_EVENT = re.compile(rb"^(?!(?:data|event|id|retry)?:)[^\r\n]*\S", re.MULTILINE)
_SAYS = ("message", "error", "detail", "error_msg", "msg", "reason")
_LINGER_SECONDS = 1.0  # after a failure in a stream, which usually ends at once
UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError)
"""What reading an event can raise when it is not what the protocol says."""


async def converse(
    pool: Pool, request: bytes, stream: Stream, on_event: Event, timeout: float
) -> bool:
    """Send one request; return True if the stream ended properly, else ``stream`` has the error."""
    response = await answered(pool, request, stream, timeout, on_event=on_event)
    if response is None:
        return False
    if not response.events or _NO_EVENT.search(response.body):
        stream.fail(stream.ended, *_no_stream(response))
    return not stream.error


async def answered(
    pool: Pool,
    request: bytes,
    stream: Stream,
    timeout: float,
    *,
    on_event: Event | None = None,
    limit: int = LIMIT,
) -> Response | None:
    """Send one request and return the successful answer, else None: ``stream`` has the error.

    Args:
        pool: The connections.
        request: Its bytes.
        stream: Gets the times.
        timeout: Seconds to wait for the whole answer.
        on_event: Called for each event of a streamed answer; None keeps the body whole.
        limit: Bytes of a body that are kept.
    """
    try:
        async with asyncio.timeout(timeout) as deadline:
            stream.on_failure = partial(_hasten, deadline)
            try:
                response = await _exchange(pool, request, stream, on_event, limit)
            finally:
                stream.on_failure = None
    except TimeoutError:
        stream.fail(time.perf_counter(), "timeout", f"no end within {timeout:g} s")
    except DroppedError as error:
        stream.fail(time.perf_counter(), "dropped", str(error))
    except MalformedError as error:
        stream.fail(time.perf_counter(), "malformed", str(error))
    except OSError as error:
        stream.fail(time.perf_counter(), "refused", error.strerror or str(error))
    else:
        stream.ended = time.perf_counter()
        if not response.good:
            stream.fail(stream.ended, f"http {response.status}", reason(response))
        else:
            return response
    return None


def _hasten(deadline: asyncio.Timeout) -> None:
    """Do not wait for the end of an answer that has failed: some servers never end it."""
    soon = asyncio.get_running_loop().time() + _LINGER_SECONDS
    if not deadline.expired():
        deadline.reschedule(min(deadline.when() or soon, soon))


def _no_stream(response: Response) -> tuple[str, str]:
    """Return kind and message of a successful answer without any event."""
    found = _parsed(response.body)
    if isinstance(found, dict) and (failed := _error_in(found)):
        return "server error", words(failed)
    if isinstance(found, dict) and "choices" in found:
        return (
            "malformed",
            "the answer came whole, not as an event stream: the server does not stream",
        )
    return "malformed", f"the answer is not an event stream: {reason(response)}"


def _error_in(event: dict[str, Any]) -> Any:
    """Return the error in an object: under ``error``, or the object itself."""
    if failed := event.get("error"):
        return failed
    says = event.get("object") == "error" or not {"choices", "usage", "id"} & event.keys()
    return event if says and any(event.get(key) for key in _SAYS) else None


def failure_in(event: dict[str, Any]) -> str:
    """Return the server's error message in an event, ``""`` without one."""
    failed = event.get("error")
    if failed or event.get("object") == "error":
        return words(failed or event)
    return ""


async def _exchange(
    pool: Pool, request: bytes, stream: Stream, on_event: Event | None, limit: int
) -> Response:
    while True:
        full, before = pool.full, time.perf_counter()
        stream.waited = stream.waited or full
        connection = await pool.take()
        stream.started = time.perf_counter()
        if not full and not connection.reused:
            stream.opening += stream.started - before
        try:
            return await connection.exchange(request, on_event, limit)
        except DroppedError as lost:
            if not stale(connection, lost):
                raise
        finally:
            pool.give(connection)


def reason(response: Response) -> str:
    """Return the server's message in the body of an error, JSON or not."""
    if response.location:
        return f"the server sends requests on to {response.location}: write that as the target"
    found = _parsed(response.body)
    return words((found.get("error") or found) if isinstance(found, dict) else found)


def _parsed(body: bytes) -> Any:
    """Return the JSON of a body, or its text."""
    text = body.decode("utf-8", "replace").strip().removeprefix("data:").strip()
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def words(error: Any) -> str:
    """Return the message of an error object, or the error as text."""
    if not isinstance(error, dict):
        return str(error)
    return words(next((error[key] for key in _SAYS if error.get(key)), json.dumps(error)))


def distrusted(url: str, error: ssl.SSLError) -> ServerError:
    """Return the error for a server with which TLS fails."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return ServerError(
            f"the certificate of {url} is not trusted",
            where=error.verify_message,
            fix="export SSL_CERT_FILE=FILE with the certificate of its issuer",
        )
    return ServerError(
        f"no TLS connection to {url}",
        where=str(error),
        fix="write http:// in place of https:// if it speaks plain HTTP",
    )


def unreachable(url: str, why: str, *, ours: bool = True) -> ServerError:
    """Return the error for a port where nothing listens; ``ours``: trtbuild serves there."""
    how = " (`trtbuild serve REPO --detach`)" if ours else ""
    return ServerError(
        f"nothing answers at {url}",
        where=why,
        fix=f"start the server first{how}, or correct the target",
    )
