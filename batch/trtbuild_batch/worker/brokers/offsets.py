"""Which messages of a Kafka partition are finished, in whatever order, and how often others came.

Kafka commits one offset for each partition: everything below it is finished. What is finished above
it goes into the text that Kafka keeps with the offset, so that a straggler costs no repeats; and so
do the deliveries, which Kafka does not count, so that a message that ends its workers is found.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

SPAN = 16_384
"""Offsets between the commit and the newest message at most: even a bitmap that cannot be
compressed then fits into the 4,096 characters that brokers accept (offset.metadata.max.bytes)."""
_MARK, _WITHOUT_COUNTS = "trtbuild2:", "trtbuild1:"
_MOST_CHARS = 4096
_PAIR = struct.Struct(">HB")  # an offset after the last one, and its deliveries
_MOST_COUNT = 255


@dataclass(slots=True)
class Offsets:
    """The offsets of one partition.

    Args:
        next: The offset of the next message to receive; negative: whatever comes first.
        finished: Offsets from there on that are finished already.
        delivered: How often others were delivered that are not.
    """

    next: int
    finished: set[int] = field(default_factory=set)
    delivered: dict[int, int] = field(default_factory=dict)
    _open: dict[int, int] = field(default_factory=dict)  # deliveries, in the order of offsets
    _given_back: set[int] = field(default_factory=set)  # of these, this one is not counted
    _commit: int = field(init=False)

    def __post_init__(self) -> None:
        self._commit = self.next

    @property
    def commit(self) -> int:
        """The lowest offset that is not finished; negative before the first message."""
        return self._commit

    @property
    def span(self) -> int:
        """How many offsets lie between the commit and the next message."""
        return self.next - self._commit

    @property
    def held(self) -> int:
        """How many messages are received and not finished."""
        return len(self._open)

    def received(self, offset: int) -> bool:
        """Note a message; False if it is finished already. Offsets may have gaps."""
        if self._commit < 0:
            self._commit = offset
        self.next = max(self.next, offset + 1)
        if offset in self.finished or offset < self._commit:
            self._advance()
            return False
        self._given_back.discard(offset)
        self._open[offset] = self.delivered.pop(offset, 0) + 1
        return True

    def deliveries(self, offset: int) -> int:
        """How often a message that is held was delivered, this time included."""
        return self._open[offset]

    def give_back(self, offsets: Iterable[int] | None = None) -> None:
        """Do not count this delivery of messages that are held; None: of all. It may be said twice:
        a worker that ends gives its messages back, and then its partitions."""
        for offset in list(self._open) if offsets is None else offsets:
            if offset in self._open and offset not in self._given_back:
                self._given_back.add(offset)
                self._open[offset] -= 1

    def finish(self, offset: int) -> None:
        """Note that a message is finished. It may be said twice."""
        if offset in self._open:
            del self._open[offset]
            self._given_back.discard(offset)
            self.finished.add(offset)
            self._advance()

    def _advance(self) -> None:
        reached = next(iter(self._open), self.next)
        if reached - self._commit <= len(self.finished):
            self.finished.difference_update(range(self._commit, reached))
        else:  # after a gap, which may be long
            self.finished = {offset for offset in self.finished if offset >= reached}
        self._commit = reached

    def text(self) -> str:
        """What is known from the commit on, for Kafka to keep; empty if nothing is. Deliveries that
        do not fit are left out: those of one first."""
        counts = {**self._open, **self.delivered}
        for least in (1, 2):
            kept = {offset: count for offset, count in counts.items() if count >= least}
            if len(text := encoded(self._commit, self.finished, kept)) <= _MOST_CHARS:
                return text
        return encoded(self._commit, self.finished)


def encoded(
    commit: int, finished: Iterable[int], delivered: Mapping[int, int] | None = None
) -> str:
    """Return what is finished from ``commit`` on, and how often others were delivered, as text."""
    parts = (_bitmap(commit, finished), _pairs(commit, delivered or {}))
    return _MARK + ".".join(map(_packed, parts)) if any(parts) else ""


def _packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 9)).decode("ascii") if content else ""


def _bitmap(commit: int, finished: Iterable[int]) -> bytes:
    bitmap = bytearray()
    for offset in finished:
        at, bit = divmod(offset - commit, 8)
        if at >= len(bitmap):
            bitmap.extend(bytes(at + 1 - len(bitmap)))
        bitmap[at] |= 1 << bit
    return bytes(bitmap)


def _pairs(commit: int, delivered: Mapping[int, int]) -> bytes:
    found, last = bytearray(), commit
    for offset, count in sorted(delivered.items()):
        if count < 1 or not 0 <= offset - last < SPAN:
            continue
        found += _PAIR.pack(offset - last, min(count, _MOST_COUNT))
        last = offset
    return bytes(found)


def decoded(commit: int, text: str | None) -> tuple[set[int], dict[int, int]]:
    """Return the finished offsets in such a text, and deliveries of others; nothing if it is
    another program's."""
    mark, colon, rest = (text or "").partition(":")
    first, _, second = rest.partition(".")
    try:
        if mark + colon not in (_MARK, _WITHOUT_COUNTS):
            raise ValueError
        bitmap, pairs = _unpacked(first), _unpacked(second)
        pairs = pairs[: len(pairs) // _PAIR.size * _PAIR.size]
    except (zlib.error, ValueError):
        return set(), {}
    finished = {
        commit + 8 * at + bit
        for at, byte in enumerate(bitmap)
        for bit in range(8)
        if byte >> bit & 1
    }
    offset, delivered = commit, {}
    for distance, count in _PAIR.iter_unpack(pairs):
        offset += distance
        delivered[offset] = count
    return finished, delivered


def _unpacked(text: str) -> bytes:
    """ValueError, zlib.error"""
    content = base64.b64decode(text, validate=True)
    return zlib.decompressobj().decompress(content, _PAIR.size * SPAN) if content else b""
