"""Our own reader of safetensors headers; it reads no weights.

Format: 8 bytes little-endian header length, that many bytes of JSON mapping tensor names to
``{"dtype", "shape", "data_offsets"}`` with offsets relative to the header's end, then the data
without holes (https://huggingface.co/docs/safetensors). Everything is checked, because headers are
untrusted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard

from trtbuild.errors import UnsupportedError

MAX_HEADER_BYTES = 100_000_000
"""The limit of the reference implementation."""

DTYPE_BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
    "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8,
    "BOOL": 8, "C64": 64,
}  # fmt: skip

RangeReader = Callable[[int, int], bytes]
"""``(begin, length) -> bytes``; may return fewer at the file's end."""

_FIRST_READ = 64 * 1024


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One stored tensor: its safetensors type, its shape, and the position of its bytes.

    ``begin`` and ``end`` count from the start of ``file``, header included.
    """

    dtype: str
    shape: tuple[int, ...]
    file: str
    begin: int
    end: int

    @property
    def size(self) -> int:
        """Bytes as stored."""
        return self.end - self.begin

    @property
    def elements(self) -> int:
        """Elements as stored (packed types hold several values in one)."""
        count = 1
        for extent in self.shape:
            count *= extent
        return count


@dataclass(frozen=True, slots=True)
class Header:
    """One file's tensors and its ``__metadata__``."""

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]


def read_header(name: str, size: int, read: RangeReader) -> Header:
    """Read and check the header of the safetensors file ``name`` of ``size`` bytes.

    An error's message begins with ``name``.

    Reads 64 KiB first, which contains most headers, and then the rest if there is more: one or two
    range requests for a file on the hub.

    Raises:
        UnsupportedError: The file is truncated, not safetensors, or inconsistent.
    """
    first = read(0, min(_FIRST_READ, size)) if size else b""
    if len(first) < 8:
        raise _broken(name, f"has {size} bytes, too few for a safetensors file")
    length = int.from_bytes(first[:8], "little")
    if length > MAX_HEADER_BYTES:
        raise _broken(name, f"is not a safetensors file (its header would have {length:,} bytes)")
    if 8 + length > size:
        raise _broken(name, f"is truncated: {size:,} bytes, its header alone needs {8 + length:,}")
    body = first[8 : 8 + length]
    if len(body) < length:
        body += read(8 + len(body), length - len(body))
    if len(body) != length:
        raise _broken(name, "ended while its header was read")
    return _parse(name, size, body)


def _parse(name: str, size: int, body: bytes) -> Header:
    try:
        entries = json.loads(body.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _broken(name, f"has a header that is not JSON ({error})") from None
    if not isinstance(entries, dict):
        raise _broken(name, "has a header that is not a JSON object")
    metadata = entries.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict):
        raise _broken(name, "has __metadata__ that is not an object")
    base = 8 + len(body)
    tensors = {key: _tensor(name, key, entry, base) for key, entry in entries.items()}
    _check_layout(name, size, base, tensors)
    return Header(tensors, {str(key): str(value) for key, value in metadata.items()})


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key occurs twice")
    return made


def _tensor(name: str, key: str, entry: object, base: int) -> TensorInfo:
    if not isinstance(entry, dict):
        raise _broken(name, f"describes tensor {key!r} by something that is not an object")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise _broken(name, f"has tensor {key!r} of unknown type {dtype!r}")
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        raise _broken(name, f"has tensor {key!r} with a malformed shape or data_offsets")
    begin, end = offsets
    info = TensorInfo(dtype, tuple(shape), name, base + begin, base + end)
    bits = info.elements * DTYPE_BITS[dtype]
    if (end - begin) * 8 != bits:
        raise _broken(
            name,
            f"has tensor {key!r} with {end - begin:,} bytes where {dtype} {list(shape)} "
            f"needs {bits / 8 if bits % 8 else bits // 8:,}",
        )
    return info


def _naturals(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _check_layout(name: str, size: int, base: int, tensors: dict[str, TensorInfo]) -> None:
    """Check that tensors are contiguous from the header's end to the file's end."""
    at = base
    for key, info in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if info.begin != at:
            kind = "overlaps the tensor before it" if info.begin < at else "leaves a hole before it"
            raise _broken(name, f"has tensor {key!r} that {kind}")
        at = info.end
    if size < at:
        raise _broken(name, f"is truncated: {size:,} bytes where its header needs {at:,}")
    if size > at:
        raise _broken(name, f"has {size - at:,} bytes after its last tensor")


def _broken(name: str, what: str) -> UnsupportedError:
    return UnsupportedError(
        f"{name} {what}", where=name, fix=f"fetch {name} again from where it came from"
    )
