"""The GGUF container: its metadata and tensor directory, read from a memory map.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little
endian). The ``gguf`` package's own reader makes several numpy views for each string of the
vocabulary, which costs seconds and hundreds of megabytes. We use only its block formats and
dequantisation. Every length is checked, because files are untrusted.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtbuild.errors import UnsupportedError, UsageError
from trtbuild.files import explain_stand_ins, is_pointer

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_ENTRIES = 1_000_000
_MAX_ARRAY = 10_000_000
_MAX_DIMENSIONS = 4
_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """A stored tensor. ``shape`` is in row-major order (GGUF's own, reversed)."""

    name: str
    shape: tuple[int, ...]
    kind: int  # a GGMLQuantizationType
    begin: int
    size: int
    path: Path  # the part's file of a split model


@dataclass(frozen=True)
class GgufFile:
    """An opened model: its metadata, its tensors, and the files that hold their bytes."""

    name: str
    paths: tuple[Path, ...]
    metadata: Mapping[str, Any]
    tensors: Mapping[str, GgufTensor]

    def text(self, key: str) -> str:
        """Return a string, empty if absent."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def items(self, key: str) -> list[Any]:
        """Return an array, empty if absent."""
        value = self.metadata.get(key)
        return value if isinstance(value, list) else []

    def token_id(self, role: str) -> int | None:
        """Return ``tokenizer.ggml.<role>_token_id`` if it is in the vocabulary."""
        value = self.metadata.get(f"tokenizer.ggml.{role}_token_id")
        known = len(self.items("tokenizer.ggml.tokens"))
        return value if type(value) is int and 0 <= value < known else None


def open_gguf(path: Path, name: str) -> GgufFile:
    """Map ``path`` and read everything except the weights; ``name`` is for messages.

    Raises:
        UsageError: It cannot be read.
        UnsupportedError: It is not GGUF, has another version, or is truncated.
    """
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError:
        raise _broken(name, "is empty") from None
    except OSError as error:
        raise UsageError(
            f"cannot read {name}: {error.strerror}", where=name, fix="check its permissions"
        ) from None
    size = len(data)
    try:
        with data:
            return _read(path, name, data)
    except (struct.error, IndexError, OverflowError):
        raise _broken(name, f"is truncated: it ends inside its header ({size:,} bytes)") from None
    except UnicodeDecodeError:
        raise _broken(name, "has a string in its metadata that is not UTF-8") from None


class _Cursor:
    def __init__(self, data: mmap.mmap, name: str) -> None:
        self.data, self.name, self.at = data, name, 0

    def number(self, code: str) -> Any:
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return value

    def count(self, limit: int, what: str) -> int:
        value = int(self.number("Q"))
        if value > limit:
            raise _broken(self.name, f"claims {value:,} {what}")
        return value

    def string(self) -> str:
        length = self.count(len(self.data), "bytes in one string")
        if self.at + length > len(self.data):
            raise IndexError
        raw = self.data[self.at : self.at + length]
        self.at += length
        return raw.decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self.array()
        if kind not in _SCALARS:
            raise _broken(self.name, f"has a metadata value of unknown type {kind}")
        return self.number(_SCALARS[kind])

    def array(self) -> list[Any]:
        kind = self.number("I")
        count = self.count(_MAX_ARRAY, "elements in one array")
        if kind == _STRING:
            return [self.string() for _ in range(count)]
        if kind not in _SCALARS:
            raise _broken(self.name, f"has a metadata array of type {kind}")
        code = f"<{count}{_SCALARS[kind]}"
        values = list(struct.unpack_from(code, self.data, self.at))
        self.at += struct.calcsize(code)
        return values


def _read(path: Path, name: str, data: mmap.mmap) -> GgufFile:
    if is_pointer(data[:1024], len(data)):
        [(what, fix)] = explain_stand_ins({name: "pointer"}, path.parent)
        raise UnsupportedError(what, where=name, fix=fix)
    if data[:4] != MAGIC:
        raise _broken(name, "is not a GGUF file (it does not begin with GGUF)")
    cursor = _Cursor(data, name)
    cursor.at = 4
    version = cursor.number("I")
    if version not in _VERSIONS:
        kind = "is big-endian GGUF" if version >> 16 else f"is GGUF version {version}"
        raise UnsupportedError(
            f"{name} {kind}", where=name, fix="convert it again with a current llama.cpp"
        )
    tensor_count = cursor.count(_MAX_ENTRIES, "tensors")
    entry_count = cursor.count(_MAX_ENTRIES, "metadata entries")
    metadata: dict[str, Any] = {}
    for _ in range(entry_count):
        key = cursor.string()
        metadata[key] = cursor.value(cursor.number("I"))
    directory = [_directory_entry(cursor) for _ in range(tensor_count)]
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or alignment <= 0:
        raise _broken(name, f"has alignment {alignment!r}")
    base = -(-cursor.at // alignment) * alignment
    tensors = {entry[0]: _tensor(path, *entry, base=base, total=len(data)) for entry in directory}
    if len(tensors) != tensor_count:
        raise _broken(name, "has two tensors of the same name")
    return GgufFile(name, (path,), metadata, tensors)


def _directory_entry(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    name = cursor.string()
    dimensions = cursor.number("I")
    if dimensions > _MAX_DIMENSIONS:
        raise _broken(cursor.name, f"has tensor {name!r} of {dimensions} dimensions")
    shape = tuple(cursor.number("Q") for _ in range(dimensions))
    return name, shape[::-1], cursor.number("I"), cursor.number("Q")


def _tensor(
    path: Path, name: str, shape: tuple[int, ...], kind: int, offset: int, *, base: int, total: int
) -> GgufTensor:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    file = path.name
    try:
        block, width = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    except (ValueError, KeyError):
        raise UnsupportedError(
            f"{file}: tensor {name!r} has GGML type {kind}, which is unknown here",
            where=file,
            fix="use another quantisation of this model (Q4_0 to Q8_0, K-quants, F16, BF16, F32)",
        ) from None
    elements = 1
    for extent in shape:
        elements *= extent
    if not shape or shape[-1] % block:
        raise _broken(file, f"has tensor {name!r} of shape {list(shape)}, not whole blocks")
    size = elements // block * width
    if base + offset + size > total:
        raise _broken(
            file,
            f"is truncated: tensor {name!r} ends at byte {base + offset + size:,} of {total:,}",
        )
    return GgufTensor(name, shape, kind, base + offset, size, path)


def _broken(name: str, what: str) -> UnsupportedError:
    return UnsupportedError(
        f"{name} {what}", where=name, fix=f"fetch {name} again from where it came from"
    )
