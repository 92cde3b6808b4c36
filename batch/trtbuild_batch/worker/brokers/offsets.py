"""Which messages of a Kafka partition are finished, in whatever order.

Kafka commits one offset for each partition: everything below it is finished. What is finished above
it goes into the text that Kafka keeps with the offset, so that a straggler costs no repeats.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field

SPAN = 16_384
"""Offsets between the commit and the newest message at most: even a bitmap that cannot be
compressed then fits into the 4,096 characters that brokers accept (offset.metadata.max.bytes)."""
_MARK = "trtbuild1:"


@dataclass(slots=True)
class Offsets:
    """The offsets of one partition.

    Args:
        next: The offset of the next message to receive; negative: whatever comes first.
        finished: Offsets from there on that are finished already.
    """

    next: int
    finished: set[int] = field(default_factory=set)
    _open: dict[int, None] = field(default_factory=dict)  # in the order of offsets
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
        self._open[offset] = None
        return True

    def finish(self, offset: int) -> None:
        """Note that a message is finished. It may be said twice."""
        if offset in self._open:
            del self._open[offset]
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
        """The finished offsets above the commit, for Kafka to keep; empty if there are none."""
        return encoded(self._commit, self.finished)


def encoded(commit: int, finished: Iterable[int]) -> str:
    """Return offsets from ``commit`` on as text: a compressed bitmap in base64."""
    bitmap = bytearray()
    for offset in finished:
        at, bit = divmod(offset - commit, 8)
        if at >= len(bitmap):
            bitmap.extend(bytes(at + 1 - len(bitmap)))
        bitmap[at] |= 1 << bit
    if not bitmap:
        return ""
    return _MARK + base64.b64encode(zlib.compress(bytes(bitmap), 9)).decode("ascii")


def decoded(commit: int, text: str | None) -> set[int]:
    """Return the offsets in such a text; none if it is another program's."""
    if not text or not text.startswith(_MARK):
        return set()
    try:
        unpacker = zlib.decompressobj()
        bitmap = unpacker.decompress(base64.b64decode(text[len(_MARK) :], validate=True), SPAN)
    except (binascii.Error, zlib.error, ValueError):
        return set()
    return {
        commit + 8 * at + bit
        for at, byte in enumerate(bitmap)
        for bit in range(8)
        if byte >> bit & 1
    }
