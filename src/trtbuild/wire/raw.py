"""A tensor's bytes, as gRPC and HTTP's binary extension send them.

Elements are in row-major order, little-endian; a ``BYTES`` element is four bytes of length and its
content.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trtbuild.wire.tensors import TensorError, TensorValue

FORMATS: Mapping[str, str] = {
    "BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b",
    "INT16": "h", "INT32": "i", "INT64": "q", "FP16": "e", "FP32": "f", "FP64": "d",
}  # fmt: skip
"""The :mod:`struct` code of each datatype of fixed size but ``BF16``, which has none."""

_VIEWED = frozenset(FORMATS) - {"FP16"} if sys.byteorder == "little" else frozenset()


def encode(tensor: TensorValue) -> bytes:
    """Return the bytes of its elements.

    Raises:
        TensorError: Elements of another type, or a wrong number of elements.
    """
    name, datatype, _, data = tensor.checked()
    try:
        if isinstance(data, memoryview) and data.format == FORMATS.get(datatype):
            return data.tobytes()
        if datatype == "BYTES":
            return b"".join(map(_sized, data))
        if datatype == "BF16":
            return b"".join(_bfloat(float(element)) for element in data)
        return struct.pack(f"<{len(data)}{_code(datatype)}", *data)
    except (struct.error, TypeError, ValueError, OverflowError) as error:
        raise TensorError(f"{name!r} of type {datatype}: {error}") from None


def decode(name: str, datatype: str, shape: Sequence[int], raw: bytes) -> TensorValue:
    """Return the tensor with these bytes.

    Raises:
        TensorError: They do not match datatype and shape.
    """
    try:
        data = _elements(datatype, raw)
    except (struct.error, TypeError, ValueError) as error:
        raise TensorError(f"{name!r} of type {datatype}: {error}") from None
    tensor = TensorValue(name, datatype, tuple(shape), data)
    return tensor if len(data) == 1 and tensor.shape == (1,) else tensor.checked()


def _elements(datatype: str, raw: bytes) -> Sequence[Any]:
    if datatype == "BYTES":
        if len(raw) >= 4 and int.from_bytes(raw[:4], "little") == len(raw) - 4:
            return [raw[4:]]
        return list(_split(raw))
    if datatype in _VIEWED:
        view: Any = memoryview(raw)
        found: Sequence[Any] = view.cast(FORMATS[datatype])
        return found
    if datatype == "BF16":
        halves = struct.unpack(f"<{len(raw) // 2}H", raw)
        words = struct.pack(f"<{len(halves)}I", *(half << 16 for half in halves))
        return struct.unpack(f"<{len(halves)}f", words)
    code = _code(datatype)
    return struct.unpack(f"<{len(raw) // struct.calcsize(code)}{code}", raw)


def _code(datatype: str) -> str:
    if datatype not in FORMATS:
        raise TypeError("no such datatype")
    return FORMATS[datatype]


def _sized(element: object) -> bytes:
    content = element.encode("utf-8") if isinstance(element, str) else element
    if not isinstance(content, bytes):
        raise TypeError(f"{element!r} is neither text nor bytes")
    return len(content).to_bytes(4, "little") + content


def _split(raw: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(raw):
        size = int.from_bytes(raw[at : at + 4], "little")
        at += 4 + size
        if at > len(raw):
            raise ValueError("its last element is cut off")
        yield raw[at - size : at]


def _bfloat(value: float) -> bytes:
    """Return the upper half of a float32, rounded to nearest, ties to even."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    if not math.isnan(value):
        bits += 0x7FFF + (bits >> 16 & 1)
    return int(bits >> 16).to_bytes(2, "little")
