"""The clients of this package for code without an event loop, such as the command line.

One event loop in one background thread serves the whole process and all its requests.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import aclosing
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

from trtbuild.wire.response import Response
from trtbuild.wire.triton_http import TritonHttp

_Made = TypeVar("_Made")
_START = threading.Lock()
_CLOSE_SECONDS = 10.0
_loop: asyncio.AbstractEventLoop | None = None


def run(coroutine: Coroutine[Any, Any, _Made]) -> _Made:
    """Run a coroutine and return its result; an interrupt of the caller cancels it."""
    future = asyncio.run_coroutine_threadsafe(coroutine, _running())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def fetch(url: str, *, seconds: float) -> Response:
    """Return the response from a URL, whatever its status, without the environment's proxies.

    Raises:
        WireError: There was no response.
        ValueError: ``url`` is not a URL.
    """

    async def ask(url: str) -> Response:
        root = urlsplit(url)
        path = root._replace(scheme="", netloc="").geturl() or "/"
        async with TritonHttp(f"{root.scheme}://{root.netloc}", environment=False) as client:
            return await client.fetch("GET", path, seconds=seconds)

    response = run(ask(url))
    if response.location and not response.good:
        return run(ask(urljoin(url, response.location)))
    return response


def iterate(items: AsyncGenerator[_Made, None]) -> Generator[_Made, None, None]:
    """Yield the items as they come; closing the generator closes ``items`` before it returns.

    Items are read as fast as they come, not as fast as the caller consumes them.
    """
    arrived: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    async def pump() -> None:
        try:
            async with aclosing(items):
                async for item in items:
                    arrived.put((True, item))
        except BaseException as error:
            arrived.put((False, error))
            raise
        arrived.put((False, None))

    future = asyncio.run_coroutine_threadsafe(pump(), _running())
    ended = False
    try:
        while True:
            is_item, found = arrived.get()
            if is_item:
                yield found
                continue
            ended = True
            if found is not None:
                raise found
            return
    finally:
        if not ended and future.cancel():
            _drain(arrived)


def _drain(arrived: queue.SimpleQueue[tuple[bool, Any]]) -> None:
    """Wait until the cancelled reader has closed its source."""
    try:
        while arrived.get(timeout=_CLOSE_SECONDS)[0]:
            pass
    except queue.Empty:
        return


def _running() -> asyncio.AbstractEventLoop:
    global _loop  # noqa: PLW0603 - one for the process
    with _START:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="trtbuild-wire", daemon=True).start()
        return _loop
