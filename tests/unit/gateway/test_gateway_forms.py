"""Files that clients upload: how much of one is in memory, and when it is refused."""

from __future__ import annotations

import asyncio
import errno
import tempfile
import tracemalloc
from typing import Any

import pytest

from trtbuild_gateway.failures import ApiError
from trtbuild_gateway.http.exchange import Exchange
from trtbuild_gateway.http.forms import form_of

HEAD = (
    b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n',
    b'\r\n--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--x--\r\n',
)
PIECE = bytes(1 << 16)


def exchange(pieces: int, most_bytes: int = 1 << 30) -> tuple[Exchange, list[int]]:
    """A client that sends a file without saying how long it is, and how much it has sent."""
    sent: list[int] = []

    async def receive() -> Any:
        number = len(sent)
        sent.append(number)
        part = HEAD[0] if number == 0 else HEAD[1] if number > pieces else PIECE
        return {"type": "http.request", "body": part, "more_body": number <= pieces}

    async def send(_: Any) -> None: ...

    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    given = {"type": "http", "headers": headers}
    return Exchange(given, receive, send, most_bytes=most_bytes, seconds=60), sent


def test_a_large_file_is_on_the_disk_while_it_arrives() -> None:
    async def run() -> dict[str, Any]:
        return await form_of(exchange(512)[0], uploads=True)

    tracemalloc.start()
    try:
        form = asyncio.run(run())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    with form["file"].file as stream:
        assert stream.seek(0, 2) == 512 * len(PIECE)
    assert form["purpose"] == "batch"
    assert peak < 4 << 20


def test_a_file_beyond_the_limit_is_not_read_on() -> None:
    async def run() -> None:
        given, sent = exchange(512, most_bytes=10 * len(PIECE))
        with pytest.raises(ApiError, match="larger than 655,360 bytes") as caught:
            await form_of(given, uploads=True)
        assert caught.value.status == 413 and len(sent) == 11

    asyncio.run(run())


def test_a_full_disk_is_no_fault_of_the_form(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def run() -> None:
        await form_of(exchange(64)[0])

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(ApiError, match="No space left on device") as caught:
        asyncio.run(run())
    assert (caught.value.status, caught.value.code) == (507, "storage_full")
