"""Safetensors files: whole, and every tensor inside the file and where its shape says.

Format: eight bytes of header length, little-endian; a JSON header with each tensor's ``dtype``,
``shape`` and ``data_offsets``; the data, without gaps (https://huggingface.co/docs/safetensors).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trtbuild.check.reading import ReportedError, open_inside

_MAX_HEADER = 100_000_000  # the format's own limit
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    "F4": 4,
}


def problem_of(path: Path, root: Path) -> str:
    """Why a file of the repository ``root`` is not complete and sound, empty if it is.

    Raises:
        ReportedError: It lies behind a link out of the repository, or is a Git LFS pointer.
    """
    try:
        with open_inside(path, root) as stream:
            size = os.fstat(stream.fileno()).st_size
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > min(size - 8, _MAX_HEADER):
                return f"its header is cut off: it has {size:,} bytes"
            header = json.loads(stream.read(length))
    except ReportedError:
        raise
    except OSError as error:
        return error.strerror or str(error)
    except (ValueError, RecursionError):
        return "its header is not JSON"
    return next(_problems(header, size - 8 - length, size), "")


def shapes_of(path: Path, root: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of a file's tensors by name; empty where its header cannot be read.

    Raises:
        OSError: It cannot be read, or lies behind a link out of the repository ``root``.
    """
    with open_inside(path, root) as stream:
        length = int.from_bytes(stream.read(8), "little")
        body = stream.read(length) if length <= _MAX_HEADER else b""
    try:
        header = json.loads(body)
        rows = {name: _span(row) and tuple(row["shape"]) for name, row in header.items()}
    except (ValueError, RecursionError, AttributeError):
        return {}
    return {name: shape for name, shape in rows.items() if shape is not None}


def _problems(header: Any, room: int, size: int) -> Iterator[str]:
    """What is wrong with a header over ``room`` bytes of data in a file of ``size``."""
    if not isinstance(header, dict):
        yield "its header is not that of a safetensors file"
        return
    spans = []
    for name, row in header.items():
        if name == "__metadata__":
            continue
        span = _span(row)
        if span is None:
            yield f"its header does not say what {name!r} is"
            return
        spans.append((*span, name, row))
    needed = max((end for _, end, _, _ in spans), default=0)
    if needed != room:
        yield f"it has {size:,} bytes, its header says {size - room + needed:,}"
    at = 0
    for begin, end, name, row in sorted(spans, key=lambda span: span[:2]):
        if begin != at:
            what = "overlaps the one before" if begin < at else "leaves a gap before it"
            yield f"{name!r} {what}"
        at = max(at, end)
        bits = _BITS.get(row["dtype"])
        wanted = math.ceil(math.prod(row["shape"]) * bits / 8) if bits else end - begin
        if end - begin != wanted:
            yield (
                f"{name!r} is {row['dtype']}{row['shape']}, which takes {wanted:,} bytes, and has "
                f"{end - begin:,}"
            )


def _span(row: Any) -> tuple[int, int] | None:
    """Begin and end of a tensor's data, None when its row is not one."""
    try:
        begin, end = row["data_offsets"]
        whole = [begin, end, *row["shape"]]
        sound = all(isinstance(n, int) and n >= 0 for n in whole) and isinstance(row["dtype"], str)
    except (KeyError, TypeError, ValueError):
        return None
    return (begin, end) if sound and begin <= end else None
