"""uvicorn's HTTP/1.1, with limits on what a client may send before it is answered."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import ClassVar

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from trtbuild_gateway.failures import ApiError, invalid
from trtbuild_gateway.http.exchange import CLIENT

_MOST_HEAD = 1 << 16
"""Bytes of a head, of the extensions of a chunk, or of trailers."""
_MOST_AHEAD = 1 << 18
"""Bytes of requests that a client sends without waiting for the answer to the first."""
_MOST_QUEUED = 256
"""Requests that wait behind the first. A short one takes a hundred times its bytes of memory."""

_log = logging.getLogger("trtbuild.gateway")


class Protocol(HttpToolsProtocol):
    """A connection of a client.

    It gives up on a client that sends no whole head in time, or too much that nobody reads, and is
    the :class:`~trtbuild_gateway.http.exchange.Client` of its requests.

    Attributes:
        header_seconds: For a client to send a head.
    """

    header_seconds: ClassVar[float] = 10.0
    writable = False
    _offered: dict[object, object]
    _timer: asyncio.TimerHandle | None = None
    _packet = _rest = b""
    _unread = 0  # bytes since the last that belonged to a complete head or to a body
    _ahead = 0
    _repeating = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self.writable = True
        self._offered = {"connection": self}
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Read what the client sends, unless it is too much."""
        self._unread += len(data)
        self._rest = data
        while self._rest:  # more than once after an offer to upgrade
            self._packet, self._rest = self._rest, b""
            super().data_received(self._packet)
        self._packet = b""
        self._ahead = self._ahead + len(data) if self.pipeline else 0
        if self.transport.is_closing():
            return
        if self._unread > _MOST_HEAD:
            message = f"the head of the request is larger than {_MOST_HEAD:,} bytes"
            self._refuse(ApiError(431, message, code="head_too_large"))
        elif self._ahead > _MOST_AHEAD or len(self.pipeline) > _MOST_QUEUED:
            _log.warning("a client sends requests without waiting for answers: it is cut off")
            self.transport.abort()
        elif self.pipeline:
            self.flow.resume_reading()  # to see whether the client leaves
        elif self._timer is None and self.cycle is not None and self.cycle.response_complete:
            self._idle()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """Refuse what is not HTTP."""
        self._refuse(invalid("the request is not valid HTTP/1.1", code="invalid_http"))

    def _refuse(self, error: ApiError) -> None:
        """Answer, unless another answer is under way, and close."""
        self._arrived()
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()
            return
        content = msgspec.json.encode(error.body())
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[error.status] + head % len(content) + content)
        self.transport.close()

    def pause_writing(self) -> None:
        """The client is slow."""
        super().pause_writing()
        self.writable = False

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        self.writable = True

    def on_message_begin(self) -> None:
        """A head begins."""
        if self._repeating:
            return
        super().on_message_begin()
        self.scope["extensions"] = {CLIENT: self._offered}
        self._expect()

    def on_headers_complete(self) -> None:
        """A head is complete."""
        self._unread = 0
        if self._repeating:
            return
        self._arrived()
        super().on_headers_complete()
        self.headers = []  # the request has its own, to which trailers do not belong

    def on_body(self, body: bytes) -> None:
        """A piece of a body has come."""
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is complete."""
        self._unread = 0
        super().on_message_complete()

    def _unsupported_upgrade_warning(self) -> None:
        """Go on with HTTP/1.1: some clients, as Java's, offer to upgrade with their first request.

        httptools takes what follows the head for another protocol, and the request for one without
        a body: another parser reads that, after a head of the same length.
        """
        upgrade = sys.exception()
        assert isinstance(upgrade, httptools.HttpParserUpgrade)
        headers = dict(self.scope["headers"])
        framing = next((n for n in (b"transfer-encoding", b"content-length") if n in headers), b"")
        self._rest = self._packet[upgrade.args[0] :]
        if framing:
            self.cycle.more_body = True
            self.cycle.message_event.clear()
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
            self._repeating = True
            head = b"POST / HTTP/1.1\r\n%b: %b\r\n\r\n" % (framing, headers[framing])
            try:
                self.parser.feed_data(head)
            except httptools.HttpParserError:
                self._rest = b""
                self.transport.abort()  # its answer is under way
            self._repeating = False

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left."""
        self.writable = False
        self._offered.clear()  # it refers to itself, which only a full collection would find
        self._arrived()
        self.pipeline.clear()
        super().connection_lost(exc)

    def _expect(self) -> None:
        self._arrived()
        self._timer = self.loop.call_later(self.header_seconds, self.transport.abort)

    def _arrived(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _idle(self) -> None:
        """Wait for the next request: uvicorn takes any byte for one, such as the rest of a body."""
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )


def patient(seconds: float) -> type[Protocol]:
    """Return the protocol of connections whose heads may take so long."""
    return type("Patient", (Protocol,), {"header_seconds": seconds})
