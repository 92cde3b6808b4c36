"""One HTTP/1.1 response with server-sent events, read as it arrives.

The time of an event is read once, before anything is parsed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Event = Callable[[float, bytes], None]

_HEAD_LIMIT = 64 * 1024
_KEPT_BODY = 16 * 1024  # of an answer that is no stream: enough to say why
_BODILESS = (204, 304)  # RFC 9112, 6.3: over with their head, whatever it says


class Malformed(Exception):  # noqa: N818
    """What came is not HTTP."""


@dataclass(slots=True)
class Response:
    """Status and, where no event came in it, the beginning of the body.

    ``location`` is where a redirection points to.
    """

    status: int = 0
    events: bool = False
    body: bytes = b""
    location: str = ""

    @property
    def good(self) -> bool:
        """Whether the status says that it worked."""
        return 200 <= self.status < 300


class Parser:
    """One response, fed as it arrives.

    ``feed`` returns True once the response is complete. Bodies come chunked, with a length, or
    until the connection closes (:meth:`finish`).
    """

    def __init__(self, on_event: Event) -> None:
        self.response = Response()
        self.keep_alive = True
        self._on_event = on_event
        self._buffer = b""
        self._line = b""
        self._event: bytes | None = None  # an event whose end has not come
        self._eventful = False  # whether an event came
        self._failed = False  # whether its name is "error"
        self._line_feed_due = False  # the last byte was a CR, which ended its line
        self._event_at = 0.0
        self._remaining = -1  # of the body or of the chunk; -1: not known yet
        self._packed = False
        self._read: Callable[[float], bool] = self._head

    @property
    def begun(self) -> bool:
        """Whether anything of the response has come."""
        return bool(self.response.status or self._buffer)

    def feed(self, now: float, data: bytes) -> bool:
        """Take bytes that arrived at ``now``."""
        self._buffer = self._buffer + data if self._buffer else data
        return self._read(now)

    def finish(self, now: float) -> bool:
        """The connection closed; whether the response is complete by that."""
        if self._read == self._until_close:
            self._end(now)
            return True
        return False

    def _head(self, now: float) -> bool:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            if len(self._buffer) > _HEAD_LIMIT:
                raise Malformed("the header does not end")
            return False
        lines = head.decode("latin-1").split("\r\n")
        parts = lines[0].split(" ", 2)
        if not parts[0].startswith("HTTP/1.") or len(parts) < 2 or not parts[1].isdigit():
            raise Malformed(f"not HTTP: {lines[0][:60]!r}")
        if len(parts[1]) == 3 and parts[1].startswith("1"):  # 100 Continue, 103 Early Hints
            self._buffer = rest
            return self._head(now)
        self.response.status = int(parts[1])
        headers = _headers(lines[1:])
        self._begin_body(headers, current=parts[0] != "HTTP/1.0")
        self._buffer = rest
        return self._read(now)

    def _begin_body(self, headers: Mapping[str, str], *, current: bool) -> None:
        # Some servers forget to say that it is an event stream; none calls it JSON.
        is_json = "json" in headers.get("content-type", "").lower()
        self.response.events = self.response.good and not is_json
        self.response.location = headers.get("location", "")
        self._packed = headers.get("content-encoding", "identity").lower() != "identity"
        if self._packed and self.response.events:
            # Whoever packs a stream holds its pieces back: their times would not be the server's.
            raise Malformed(f"the answer is packed ({headers['content-encoding']}), unasked")
        asked = headers.get("connection", "" if current else "close").lower()
        self.keep_alive = asked != "close"
        if self.response.status in _BODILESS:
            self._remaining, self._read = 0, self._sized
        elif "chunked" in headers.get("transfer-encoding", "").lower():
            self._read = self._chunks
        elif headers.get("content-length", "").isdigit():
            self._remaining = int(headers["content-length"])
            self._read = self._sized
        else:
            self.keep_alive = False
            self._read = self._until_close

    def _chunks(self, now: float) -> bool:
        buffer, at = self._buffer, 0
        while True:
            end = buffer.find(b"\r\n", at)
            if end < 0:
                break
            size = _chunk_size(buffer[at:end])
            if len(buffer) < end + 2 + size + 2:
                break
            if size == 0:
                # Trailers are not read to their end: the next answer must not meet them.
                self.keep_alive = self.keep_alive and buffer[end + 2 : end + 4] == b"\r\n"
                self._end(now)
                return True
            self._body(now, buffer[end + 2 : end + 2 + size])
            at = end + 2 + size + 2
        self._buffer = buffer[at:]
        return False

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
            self.response.body = (self.response.body + data)[:_KEPT_BODY]
        if not self.response.events:
            return
        if b"\r" in data or self._line_feed_due:
            data = self._without_returns(data)
        lines = (self._line + data).split(b"\n")
        self._line = lines.pop()
        for line in lines:
            if line.startswith(b"data:"):
                self._data(now, line[5:].strip())
            elif line.startswith(b"event:"):
                self._failed = line[6:].strip() == b"error"
            elif not line.strip():
                self._dispatch()

    def _without_returns(self, data: bytes) -> bytes:
        """Lines end with CR LF, LF or CR alone; a CR at the end may have its LF to come."""
        if self._line_feed_due and data:
            data = data.removeprefix(b"\n")
        self._line_feed_due = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _data(self, now: float, data: bytes) -> None:
        """A line of an event: an empty line ends it, and its time is that of its last line.

        Some servers leave the empty line out. Two objects in a row are two events: no JSON text
        goes on like that after a line's end.
        """
        if self._event is not None:
            if self._event[-1:] == b"}" and data[:1] in (b"{", b"["):
                self._dispatch()
            else:
                data = self._event + b"\n" + data
        self._event, self._event_at = data, now

    def _dispatch(self) -> None:
        event, self._event = self._event, None
        failed, self._failed = self._failed, False
        if event:
            if not self._eventful:
                self._eventful, self.response.body = True, b""
            self._on_event(self._event_at, _as_error(event) if failed else event)

    def _end(self, now: float) -> None:
        """The body is over; a last event without its end still counts."""
        if self.response.events:
            self._body(now, b"\n\n")


def _as_error(event: bytes) -> bytes:
    """What an event called ``error`` says, as the object with an ``error`` that others send."""
    try:
        found = json.loads(event)
    except (ValueError, RecursionError):
        found = event.decode("utf-8", "replace")
    if isinstance(found, dict) and found.get("error"):
        return event
    return json.dumps({"error": found or "an event of the kind error"}).encode()


def _chunk_size(line: bytes) -> int:
    try:
        size = int(line.split(b";", 1)[0], 16)
    except ValueError:
        size = -1
    if size < 0:
        raise Malformed(f"not a chunk size: {line[:20]!r}")
    return size


def _headers(lines: list[str]) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
