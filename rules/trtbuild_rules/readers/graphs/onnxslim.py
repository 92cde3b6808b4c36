"""An ONNX file without its weights: what is said of them stays, their bytes go.

A file of 2 GB is then read in the time that its graph takes. It works on protobuf's wire format
with the field numbers of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

_MANY = 16 << 10  # bytes; fewer may say a shape
_DEEP = 20
_MOST = 2_000_000  # fields; the largest exported graphs have some hundred thousand nodes
# Messages by what they are in and their field number there.
_INSIDE = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph"},
}
_DATA = {4, 5, 6, 7, 9, 10, 11}  # the fields of a TensorProto that may hold its numbers


class Bytes(Protocol):
    """``bytes``, or a file that is mapped into memory."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: slice, /) -> bytes: ...


def without_weights(content: Bytes) -> bytes:
    """The file without long data of tensors; what is not an ONNX file stays as it is."""
    budget = iter(range(_MOST))
    try:
        return b"".join(_kept(content, (0, len(content)), "model", _DEEP, budget))
    except ValueError:
        return content[0 : len(content)]


def _kept(
    content: Bytes, span: tuple[int, int], kind: str, depth: int, budget: Iterator[int]
) -> Iterator[bytes]:
    for number, start, value, stop in _fields(content, *span):
        if not number or next(budget, None) is None:
            raise ValueError("no field has the number 0, and no graph so many fields")
        inside = _INSIDE.get(kind, {}).get(number, "") if depth else ""
        if stop - value < _MANY or not (inside or kind == "tensor"):
            yield content[start:stop]
        elif inside:
            kept = b"".join(_kept(content, (value, stop), inside, depth - 1, budget))
            yield _varint(number << 3 | 2) + _varint(len(kept)) + kept
        elif number not in _DATA:
            yield content[start:stop]


def _fields(content: Bytes, begin: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, start, start of the value and end of each field of a message."""
    while begin < end:
        tag, value = _number(content, begin)
        size = {0: 0, 1: 8, 5: 4}.get(tag & 7, -1)
        if tag & 7 == 0:
            _, stop = _number(content, value)
        elif tag & 7 == 2:
            size, value = _number(content, value)
            stop = value + size
        elif size > 0:
            stop = value + size
        else:
            raise ValueError("no field")
        if stop > end:
            raise ValueError("a field is longer than its message")
        yield tag >> 3, begin, value, stop
        begin = stop


def _number(content: Bytes, begin: int) -> tuple[int, int]:
    """A varint and where it ends."""
    number = 0
    for count, byte in enumerate(content[begin : begin + 10]):
        number |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return number, begin + count + 1
    raise ValueError("no number")


def _varint(number: int) -> bytes:
    said = bytearray()
    while number > 0x7F:
        said.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*said, number])
