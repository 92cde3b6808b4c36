"""The fast path of a stream: from the packet of the server straight to the client's connection.

It begins once the answer has begun. While the client is slow, texts take the usual path, which can
wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from trtbuild.signature.requests import Chunk
from trtbuild_gateway.answers import Choice
from trtbuild_gateway.encoding.chunks import Frame
from trtbuild_gateway.http.exchange import Exchange
from trtbuild_gateway.seams import Timed

_SIZES = [b"%x\r\n" % size for size in range(2048)]
_encode = msgspec.json.Encoder().encode
_made = tuple.__new__  # what Chunk() calls after it has read its arguments


class _Never:
    """A clock that nobody reads."""

    last = 0.0


class Sink(Protocol):
    """A :class:`~trtbuild_gateway.seams.TextSink` that adds to the counts of an answer."""

    clock: Timed

    @property
    def ready(self) -> bool:
        """See :class:`~trtbuild_gateway.seams.TextSink`."""

    def take(self, raws: Sequence[bytes], texts: Sequence[str], tokens: int | None) -> bool:
        """See :class:`~trtbuild_gateway.seams.TextSink`."""

    def settle(self) -> None:
        """Add to the answer's counts what has been taken since the last time."""


class _Sink:
    """What all kinds of sink do."""

    __slots__ = ("_choice", "_client", "_exchange", "_last", "_time", "_write", "clock")

    def __init__(self, exchange: Exchange, choice: Choice) -> None:
        assert exchange.client is not None
        self.clock: Timed = _Never()
        self._exchange = exchange
        self._client = exchange.client
        self._write = exchange.client.transport.write
        self._choice = choice
        self._last = 0.0
        self._time = asyncio.get_running_loop().time

    @property
    def ready(self) -> bool:
        """See :class:`~trtbuild_gateway.seams.TextSink`."""
        exchange = self._exchange
        # Heartbeats alone leave the way open for another model, which texts would not.
        return exchange.started and exchange.spoken and self._choice.first > 0

    def settle(self) -> None:
        """Note when the last token came."""
        if self._last:
            last = time.monotonic() - (self._time() - self._last)
            self._choice.last = max(self._choice.last, last)


class PlainSink(_Sink):
    """Sends texts as they are.

    Args:
        exchange: The request and its answer.
        choice: The answer of several.
        frame: What stands around the texts of an event.
    """

    __slots__ = ("_between", "_count", "_end", "_extra", "_start", "_tokens")

    def __init__(self, exchange: Exchange, choice: Choice, frame: Frame) -> None:
        super().__init__(exchange, choice)
        self._start, self._between, end = frame
        self._end = end + b"\r\n"
        self._extra = len(self._start) + len(end)
        self._count = 0
        self._tokens: int | None = None

    def take(
        self,
        raws: Sequence[bytes],
        texts: Sequence[str],  # noqa: ARG002
        tokens: int | None,
    ) -> bool:
        """See :class:`~trtbuild_gateway.seams.TextSink`."""
        if not self._client.writable:
            return False
        if tokens is not self._tokens:
            self.settle()
            self._tokens = tokens
        self._count += len(raws)
        self._last = self.clock.last = self._exchange.last_sent = self._time()
        self._send(self._between.join(raws))
        return True

    def _send(self, body: bytes) -> None:
        size = len(body) + self._extra
        line = _SIZES[size] if size < len(_SIZES) else b"%x\r\n" % size
        self._write(b"".join((line, self._start, body, self._end)))

    def settle(self) -> None:
        """See :class:`Sink`."""
        super().settle()
        count, self._count = self._count, 0
        self._choice.chunks += count
        if self._tokens is not None:
            counted = self._choice.completion_tokens or 0
            self._choice.completion_tokens = counted + count * self._tokens


class CheckedSink(PlainSink):
    """Sends what may be sent of texts, those of a packet as one.

    Args:
        exchange, choice, frame: See :class:`PlainSink`.
        feed: Takes a text, and returns what may be sent.
    """

    __slots__ = ("_feed",)

    def __init__(
        self, exchange: Exchange, choice: Choice, frame: Frame, feed: Callable[[str], str]
    ) -> None:
        super().__init__(exchange, choice, frame)
        self._feed = feed

    def take(
        self,
        raws: Sequence[bytes],  # noqa: ARG002
        texts: Sequence[str],
        tokens: int | None,
    ) -> bool:
        """See :class:`~trtbuild_gateway.seams.TextSink`."""
        if not self._client.writable:
            return False
        # A model that sends no counts has its tokens counted by the texts it sent.
        self._count += len(texts) * (1 if tokens is None else tokens)
        self._last = self.clock.last = self._time()
        if text := self._feed("".join(texts)):
            self._exchange.last_sent = self._last
            self._send(_encode(text))
        return True

    def settle(self) -> None:
        """See :class:`Sink`."""
        _Sink.settle(self)
        count, self._count = self._count, 0
        self._choice.completion_tokens = (self._choice.completion_tokens or 0) + count


class ReadSink(_Sink):
    """Sends what a reader makes of texts.

    Args:
        exchange: The request and its answer.
        choice: The answer of several.
        read: Returns the events of new chunks; it counts them.
    """

    __slots__ = ("_read",)

    def __init__(
        self,
        exchange: Exchange,
        choice: Choice,
        read: Callable[[Choice, Sequence[Chunk]], bytes],
    ) -> None:
        super().__init__(exchange, choice)
        self._read = read

    def take(
        self,
        raws: Sequence[bytes],  # noqa: ARG002
        texts: Sequence[str],
        tokens: int | None,
    ) -> bool:
        """See :class:`~trtbuild_gateway.seams.TextSink`."""
        if not self._client.writable:
            return False
        chunks = [_made(Chunk, (text, "", tokens, None, (), ())) for text in texts]
        self._last = self.clock.last = self._time()
        if piece := self._read(self._choice, chunks):
            self._exchange.last_sent = self._last
            self._write(b"%x\r\n%b\r\n" % (len(piece), piece))
        return True
