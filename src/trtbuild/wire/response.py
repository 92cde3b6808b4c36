"""One HTTP/1.1 response with server-sent events, read as it arrives.

The clock is read once per event, before parsing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from trtbuild.wire.failures import MalformedError, TooLargeError, retry_after
from trtbuild.wire.syntax import as_error, chunk_size, events_of, headers_of, number

Event = Callable[[float, bytes], None]

LIMIT = 64 * 1024 * 1024
"""Bytes of a body or of an event that a client accepts unless told otherwise."""

_HEAD_LIMIT = 64 * 1024
_KEPT_BODY = 16 * 1024  # of a non-stream answer to a stream request: enough for its error
_PART = 64 * 1024  # chunks above this size are passed on before their end
_BODILESS = (204, 304)  # RFC 9112, 6.3: no body, whatever the headers say


@dataclass(slots=True)
class Response:
    """One response.

    Attributes:
        status: The HTTP status.
        events: Whether it is read as an event stream.
        body: The whole body; for a stream request only the beginning, and empty after the first
            event.
        headers: Names in lower case.
    """

    status: int = 0
    events: bool = False
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def location(self) -> str:
        """The target of a redirect."""
        return self.headers.get("location", "")

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait before a retry, as requested by the server, or None."""
        return retry_after(self.headers)

    @property
    def good(self) -> bool:
        """Whether the status means success."""
        return 200 <= self.status < 300


class Parser:
    """An incremental parser of one response.

    ``feed`` returns True once the response is complete. Bodies are chunked, have a length, or end
    when the connection closes (:meth:`finish`).

    Args:
        on_event: Called with each event; None: the body is kept whole.
        limit: Maximum bytes of a body that is kept, or of one event.
    """

    def __init__(self, on_event: Event | None, limit: int = LIMIT) -> None:
        self.response = Response()
        self.keep_alive = True
        self._on_event = on_event
        self._limit = limit
        self._kept = bytearray()
        self._buffer = b""
        self._line = bytearray()
        self._event: bytes | None = None  # an incomplete event
        self._eventful = False  # whether an event came
        self._failed = False  # whether its name is "error"
        self._line_feed_due = False  # whether the last byte was a CR, which ended its line
        self._between = False  # whether the next chunk begins an event, and not the first one
        self._event_at = 0.0
        self._remaining = -1  # rest of the body or of the chunk; -1: unknown so far
        self._packed = False
        # Not a bound method: a parser that refers to itself keeps its request's objects alive until
        # the next full collection.
        self._read: Callable[[Parser, float], bool] = Parser._head

    @property
    def begun(self) -> bool:
        """Whether any byte of the response has arrived."""
        return bool(self.response.status or self._buffer)

    @property
    def between_events(self) -> bool:
        """Whether a chunk, and with it an event, has just ended, and there has been an event."""
        return self._between and not self._buffer

    def feed(self, now: float, data: bytes) -> bool:
        """Parse bytes that arrived at ``now``."""
        self._buffer = self._buffer + data if self._buffer else data
        return self._read(self, now)

    def finish(self, now: float) -> bool:
        """Handle a closed connection; return whether that completes the response."""
        if self._read is Parser._until_close:
            self._end(now)
            return True
        return False

    def cut(self, now: float) -> None:
        """End a response whose body is incomplete."""
        self.keep_alive = False
        self._end(now)

    def _head(self, now: float) -> bool:
        while True:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if len(head) > _HEAD_LIMIT:
                raise TooLargeError(f"the header is longer than {_HEAD_LIMIT:,} bytes")
            if not found:
                return False
            lines = head.decode("latin-1").split("\r\n")
            parts = lines[0].split(" ", 2)
            status = number(parts[1]) if len(parts) > 1 else None
            if not parts[0].startswith("HTTP/1.") or status is None:
                raise MalformedError(f"not HTTP: {lines[0][:60]!r}")
            self._buffer = rest
            if len(parts[1]) != 3 or not parts[1].startswith("1"):
                break  # interim responses: 100 Continue, 103 Early Hints
        self.response.status = status
        self._begin_body(headers_of(lines[1:]), current=parts[0] != "HTTP/1.0")
        return self._read(self, now)

    def _begin_body(self, headers: Mapping[str, str], *, current: bool) -> None:
        # Some servers do not declare an event stream; none declares one as JSON.
        is_json = "json" in headers.get("content-type", "").lower()
        streamed = self._on_event is not None and not is_json
        self.response.events = self.response.good and streamed
        self.response.headers = headers
        self._packed = headers.get("content-encoding", "identity").lower() != "identity"
        if self._packed and self.response.events:
            # Compression delays the chunks of a stream, so their times would be wrong.
            raise MalformedError(f"the answer is packed ({headers['content-encoding']}), unasked")
        asked = headers.get("connection", "" if current else "close").lower()
        self.keep_alive = asked != "close"
        if self.response.status in _BODILESS:
            self._remaining, self._read = 0, Parser._sized
        elif "chunked" in headers.get("transfer-encoding", "").lower():
            self._read = Parser._chunks
        elif (length := number(headers.get("content-length", ""))) is not None:
            self._remaining, self._read = length, Parser._sized
        else:
            self.keep_alive = False
            self._read = Parser._until_close

    def _chunks(self, now: float) -> bool:
        buffer, at = self._buffer, 0
        parts: list[bytes] = []  # passed on together: a packet often holds several chunks
        if self._between and (events := events_of(buffer, self._limit)):
            self._buffer = b""
            for event in events:
                self._on_event(now, event)  # type: ignore[misc]
            return False
        while True:
            end = buffer.find(b"\r\n", at)
            if end < 0:
                if len(buffer) - at > _HEAD_LIMIT:
                    raise MalformedError(f"not a chunk size: {buffer[at : at + 20]!r}")
                break
            size = chunk_size(buffer[at:end])
            if len(buffer) < end + 2 + size + 2:
                if size > _PART:
                    self._between = False
                    self._pass_on(now, parts)
                    return self._begin_chunk(now, buffer[end + 2 :], size)
                break
            if size == 0:
                # Trailers are not read, so the connection cannot be reused.
                self.keep_alive = self.keep_alive and buffer[end + 2 : end + 4] == b"\r\n"
                self._pass_on(now, parts)
                self._end(now)
                return True
            parts.append(buffer[end + 2 : end + 2 + size])
            at = end + 2 + size + 2
        self._buffer = buffer[at:]
        self._pass_on(now, parts)
        self._between = (
            self._eventful
            and self._event is None
            and not (self._line or self._failed or self._line_feed_due)
        )
        return False

    def _pass_on(self, now: float, parts: list[bytes]) -> None:
        if parts:
            self._body(now, parts[0] if len(parts) == 1 else b"".join(parts))

    def _begin_chunk(self, now: float, data: bytes, size: int) -> bool:
        """Begin a chunk; a long one is passed on in parts as they come."""
        self._buffer, self._remaining, self._read = data, size, Parser._rest_of_chunk
        return self._rest_of_chunk(now)

    def _rest_of_chunk(self, now: float) -> bool:
        if self._remaining:
            data, self._buffer = self._buffer[: self._remaining], self._buffer[self._remaining :]
            self._remaining -= len(data)
            self._body(now, data)
        if self._remaining or len(self._buffer) < 2:
            return False
        self._buffer, self._read = self._buffer[2:], Parser._chunks
        return self._chunks(now)

    def _sized(self, now: float) -> bool:
        data, self._buffer = self._buffer[: self._remaining], b""
        self._remaining -= len(data)
        self._body(now, data)
        if self._remaining == 0:
            self._end(now)
        return self._remaining == 0

    def _until_close(self, now: float) -> bool:
        data, self._buffer = self._buffer, b""
        self._body(now, data)
        return False

    def _body(self, now: float, data: bytes) -> None:
        if not self._eventful and not self._packed:
            self._keep(data)
        if not self.response.events:
            return
        if b"\r" in data or self._line_feed_due:
            data = self._without_returns(data)
        if data[-2:] == b"\n\n" and not self._line and self._event is None and not self._failed:
            self._whole_events(now, data)
        else:
            self._lines(now, data)

    def _whole_events(self, now: float, data: bytes) -> None:
        """Pass on events that are complete; the usual one is a single line."""
        for event in data[:-2].split(b"\n\n"):
            if event[:5] == b"data:" and b"\n" not in event and len(event) <= self._limit:
                if content := event[5:].strip():
                    self._event, self._event_at = content, now
                    self._dispatch()
            else:
                self._lines(now, event + b"\n\n")

    def _lines(self, now: float, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        if lines:  # a line that comes in many parts is joined once
            lines[0], self._line = bytes(self._line + lines[0]), bytearray()
        self._line += rest
        if len(self._line) > self._limit:
            raise TooLargeError(f"an event is longer than {self._limit:,} bytes")
        for line in lines:
            if line.startswith(b"data:"):
                self._data(now, line[5:].strip())
            elif line.startswith(b"event:"):
                self._failed = line[6:].strip() == b"error"
            elif not line.strip():
                self._dispatch()

    def _keep(self, data: bytes) -> None:
        """Keep bytes of a body without an event so far."""
        if self._on_event is not None:
            self._kept += data[: _KEPT_BODY - len(self._kept)]
        elif len(self._kept) + len(data) > self._limit:
            raise TooLargeError(f"the body is longer than {self._limit:,} bytes")
        else:
            self._kept += data

    def _without_returns(self, data: bytes) -> bytes:
        """Normalize line ends (CR LF, LF or CR); the LF after a CR at the end may follow later."""
        if self._line_feed_due and data:
            data = data.removeprefix(b"\n")
        self._line_feed_due = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _data(self, now: float, data: bytes) -> None:
        """Handle a line of an event: an empty line ends it; its time is that of the last line.

        Some servers leave the empty line out. Two objects in consecutive lines are two events,
        because no JSON text continues like that.
        """
        if self._event is not None:
            if self._event[-1:] == b"}" and data[:1] in (b"{", b"["):
                self._dispatch()
            else:
                data = self._event + b"\n" + data
                if len(data) > self._limit:
                    raise TooLargeError(f"an event is longer than {self._limit:,} bytes")
        self._event, self._event_at = data, now

    def _dispatch(self) -> None:
        event, self._event = self._event, None
        failed, self._failed = self._failed, False
        if event:
            if not self._eventful:
                self._eventful, self._kept = True, bytearray()
            assert self._on_event is not None
            self._on_event(self._event_at, as_error(event) if failed else event)

    def _end(self, now: float) -> None:
        """End the body; a last event without an empty line still counts."""
        if self.response.events:
            self._body(now, b"\n\n")
        self.response.body = bytes(self._kept)
