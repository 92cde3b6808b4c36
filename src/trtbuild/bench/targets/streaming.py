"""What the HTTP targets share: send, time the events, and name what went wrong."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from typing import Any

from trtbuild.bench.model import Stream
from trtbuild.bench.response import Event, Malformed, Response
from trtbuild.bench.wire import Dropped, Pool
from trtbuild.errors import ServerError

UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError)
"""What reading an event can raise when it is not what the protocol says."""


async def converse(
    pool: Pool, request: bytes, stream: Stream, on_event: Event, timeout: float
) -> bool:
    """One request; True when the stream ended in order, else ``stream`` says what happened."""
    try:
        async with asyncio.timeout(timeout):
            response = await _exchange(pool, request, stream, on_event)
    except TimeoutError:
        stream.fail(time.perf_counter(), "timeout", f"no end within {timeout:g} s")
    except Dropped as error:
        stream.fail(time.perf_counter(), "dropped", str(error))
    except Malformed as error:
        stream.fail(time.perf_counter(), "malformed", str(error))
    except OSError as error:
        stream.fail(time.perf_counter(), "refused", error.strerror or str(error))
    else:
        stream.ended = time.perf_counter()
        if response.status != 200:
            stream.fail(stream.ended, f"http {response.status}", reason(response))
        elif not response.events:
            stream.fail(stream.ended, "malformed", "the answer is no event stream")
        else:
            return not stream.error
    return False


async def _exchange(pool: Pool, request: bytes, stream: Stream, on_event: Event) -> Response:
    while True:
        full, before = pool.full, time.perf_counter()
        stream.waited = stream.waited or full
        connection = await pool.take()
        stream.started = time.perf_counter()
        if not full and not connection.reused:
            stream.opening += stream.started - before
        try:
            return await connection.exchange(request, on_event)
        except Dropped as lost:
            # A server may close an idle connection at the moment it is used again; whoever has
            # answered anything has taken the request, and failed it.
            if connection.reused and not lost.answered:
                continue
            raise
        finally:
            pool.give(connection)


def reason(response: Response) -> str:
    """The server's words in an error's body, JSON or not."""
    if response.location:
        return f"the server sends requests on to {response.location}: write that as the target"
    text = response.body.decode("utf-8", "replace").strip().removeprefix("data:").strip()
    try:
        found: Any = json.loads(text)
    except ValueError:
        return text
    return words(found.get("error", found) if isinstance(found, dict) else found)


def words(error: Any) -> str:
    """An error's own message, where it is an object that has one."""
    return str(error.get("message", error) if isinstance(error, dict) else error)


def distrusted(url: str, error: ssl.SSLError) -> ServerError:
    """Somebody listens, with whom no TLS connection comes about."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return ServerError(
            f"the certificate of {url} is not trusted",
            where=error.verify_message,
            fix="export SSL_CERT_FILE=FILE with the certificate of who signed it",
        )
    return ServerError(
        f"no TLS connection to {url}",
        where=str(error),
        fix="write http:// in place of https:// if it speaks plain HTTP",
    )


def unreachable(url: str, why: str) -> ServerError:
    """Nothing listens there."""
    return ServerError(
        f"nothing answers at {url}",
        where=why,
        fix="start the server first (`trtbuild serve REPO --detach`), or correct the target",
    )
