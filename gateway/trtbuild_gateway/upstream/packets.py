"""Packets whose events differ only in their texts, read by comparing bytes.

A server repeats the same line for every token, with another text. Once one such event has been
decoded, those of later packets are recognized by what surrounds their texts. Whatever looks
different is left to the parser.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec

from trtbuild.signature.requests import Chunk
from trtbuild_gateway.seams import TextSink
from trtbuild_gateway.upstream.events import PlainEvent

_TEXT = re.compile(rb'"text_output": ?("[^"\\]*(?:\\.[^"\\]*)*")')
_PROBE = b'"\\u0001"'
_LONGEST = 1024
"""Bytes of an event above which it is parsed."""
_ATTEMPTS = 8
"""How often a stream may show another form of event before it is left to the parser."""

_decode_event = msgspec.json.Decoder(PlainEvent).decode
_decode_text = msgspec.json.Decoder(str).decode


class _Heads(dict[int, "bytes | tuple[()]"]):
    """By the length of a chunk: its size line, and the event up to the quote before the text.

    There is no chunk of some lengths; those have an empty tuple, which no chunk starts with.

    Args:
        start: The event up to the quote.
        end: Length of the rest of the event after the text, with both of its line ends.
    """

    def __init__(self, start: bytes, end: int) -> None:
        self._start = start
        self._shortest = len(start) + end + 1  # an empty text is left to the parser

    def __missing__(self, length: int) -> bytes | tuple[()]:
        if length > _LONGEST:
            return ()
        for digits in (2, 3, 4):
            size = length - digits - 4
            if size >= self._shortest and len(b"%x" % size) == digits:
                self[length] = found = b"%x\r\n%b" % (size, self._start)
                return found
        self[length] = ()
        return ()


class _Form(NamedTuple):
    """What surrounds the texts of a stream.

    Attributes:
        heads: What stands before a text, by the length of the chunk.
        tail: What stands after it, from its closing quote to the end of the chunk.
        tokens: The model's count for each event; None if it sends none.
    """

    heads: _Heads
    tail: bytes
    tokens: int | None


_heads = lru_cache(16)(_Heads)  # 5 MB at most, whatever a server sends
_NO_HEADS = _Heads(b"", _LONGEST)


@lru_cache(256)
def _form(start: bytes, end: bytes) -> _Form | None:
    """Return the form of an event by its two parts, if any text may be between them.

    The probe shows that the text is the one the decoder finds. Another one instead changes nothing
    else, because a JSON string can stand wherever another can.
    """
    try:
        probed = _decode_event(start + _PROBE + end)
    except msgspec.DecodeError:
        return None
    if probed.text_output != "\x01" or probed.finish_reason not in ("", "None"):
        return None
    tail = b'"%b\n\n\r\n' % end
    heads = _heads(b'data: %b"' % start, len(end) + 3)
    return _Form(heads, tail, probed.num_output_tokens)


class PacketReader:
    """Reads the packets of one stream, and gives their texts to ``sink``."""

    __slots__ = ("_attempts", "_cut", "_form", "_heads", "_packet", "_sink", "_tail", "_tokens")

    def __init__(self, sink: TextSink) -> None:
        self._sink = sink
        self._attempts = _ATTEMPTS
        self._packet = b""  # one that was left to the parser
        self._form: _Form | None = None
        self._heads = _NO_HEADS
        self._tail = b""
        self._cut = 0
        self._tokens: int | None = None

    def take(self, packet: bytes) -> bool:
        """Take a packet of whole chunks that begins between two events; whether it could."""
        head = self._heads[len(packet)]
        if packet.startswith(head) and packet.endswith(self._tail):
            raw = packet[len(head) - 1 : self._cut]
            try:
                text = _decode_text(raw)
            except msgspec.DecodeError:
                return self._left(packet)
            return self._sink.take((raw,), (text,), self._tokens)
        return self._several(packet)

    def _several(self, packet: bytes) -> bool:
        if not self._tail:
            return self._left(packet)
        pieces = packet.split(self._tail)
        if pieces.pop():
            return self._left(packet)
        heads, extra = self._heads, len(self._tail)
        raws, texts = [], []
        for piece in pieces:
            head = heads[len(piece) + extra]
            if not piece.startswith(head):
                return self._left(packet)
            raw = piece[len(head) - 1 :] + b'"'
            raws.append(raw)
            try:
                texts.append(_decode_text(raw))
            except msgspec.DecodeError:
                return self._left(packet)
        return self._sink.take(raws, texts, self._tokens)

    def _left(self, packet: bytes) -> bool:
        self._packet = packet
        return False

    def learn(self, events: Sequence[bytes], chunks: Sequence[Chunk]) -> None:
        """Look at the first event of a packet that was not taken, unless that has failed often."""
        packet, self._packet = self._packet, b""
        if not packet or not self._attempts or not self._sink.ready:
            return
        event = events[0]
        found = None if len(event) > _LONGEST else _TEXT.search(event)
        whole = b"%x\r\ndata: %b\n\n\r\n" % (len(event) + 8, event)
        if found is None or chunks[0].finish_reason or not packet.startswith(whole):
            return
        form = _form(event[: found.start(1)], event[found.end(1) :])
        if form is None or form is self._form:
            return
        self._attempts -= 1
        self._form = form
        self._heads, self._tail, self._tokens = form
        self._cut = 1 - len(form.tail)
