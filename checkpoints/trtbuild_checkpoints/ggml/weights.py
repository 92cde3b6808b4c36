"""Write GGUF tensors as one ``model.safetensors``, dequantised a few megabytes at a time."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from trtbuild.errors import UnsupportedError
from trtbuild_checkpoints.ggml.architectures import (
    ROPE_FACTORS,
    Architecture,
    hf_name,
    is_query_or_key,
)
from trtbuild_checkpoints.ggml.file import GgufFile, GgufTensor

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

DTYPES = {"float32": ("F32", 4), "bfloat16": ("BF16", 2)}
_CHUNK_ELEMENTS = 4 * 1024 * 1024  # 16 MB of float32, several times as much while dequantising


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """A tensor to write. ``heads`` above 0: undo llama.cpp's interleaving of that many heads."""

    name: str
    source: GgufTensor
    heads: int = 0


def plan(file: GgufFile, row: Architecture, config: dict[str, Any]) -> tuple[PlannedTensor, ...]:
    """Return what to write, in the file's order, so that it is read sequentially.

    Raises:
        UnsupportedError: The file has tensors unknown to the architecture.
    """
    planned: list[PlannedTensor] = []
    strangers: list[str] = []
    counts = {"q": config["num_attention_heads"], "k": config["num_key_value_heads"]}
    for tensor in sorted(file.tensors.values(), key=lambda tensor: (tensor.path, tensor.begin)):
        if tensor.name == ROPE_FACTORS:
            continue  # settings of config.json, not weights
        name = hf_name(row, tensor.name)
        if name is None:
            strangers.append(tensor.name)
            continue
        heads = counts.get(is_query_or_key(tensor.name), 0) if row.interleaved else 0
        if heads and tensor.shape[0] % (2 * heads):
            raise UnsupportedError(
                f"{file.name}: tensor {tensor.name!r} has {tensor.shape[0]} rows for {heads} heads",
                where=file.name,
                fix="convert the model to GGUF again with a current llama.cpp",
            )
        planned.append(PlannedTensor(name, tensor, heads))
    if strangers:
        raise UnsupportedError(
            f"{file.name} has {len(strangers)} tensors that {row.hf_name} has not, such as "
            f"{strangers[0]!r}",
            where=file.name,
            fix="use the model's Hugging Face id, whose safetensors need no conversion",
        )
    return tuple(planned)


def header(planned: tuple[PlannedTensor, ...], dtype: str) -> bytes:
    """Return the safetensors header, padded to eight bytes."""
    kind, width = DTYPES[dtype]
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for item in planned:
        size = _elements(item.source) * width
        entries[item.name] = {
            "dtype": kind,
            "shape": list(item.source.shape),
            "data_offsets": [at, at + size],
        }
        at += size
    body = json.dumps(entries, separators=(",", ":")).encode("utf-8")
    body += b" " * (-len(body) % 8)
    return struct.pack("<Q", len(body)) + body


def data_size(planned: tuple[PlannedTensor, ...], dtype: str) -> int:
    """Return the bytes after the header."""
    return sum(_elements(item.source) for item in planned) * DTYPES[dtype][1]


def write(
    planned: tuple[PlannedTensor, ...],
    dtype: str,
    out: BinaryIO,
    advance: Callable[[int], None],
) -> None:
    """Write the header, then every tensor; ``advance`` is called with the bytes written so far."""
    out.write(header(planned, dtype))
    done = 0
    for item in planned:
        for chunk in _chunks(item):
            out.write(_as_bytes(chunk, dtype))
            done += chunk.size * DTYPES[dtype][1]
            advance(done)


def _elements(tensor: GgufTensor) -> int:
    count = 1
    for extent in tensor.shape:
        count *= extent
    return count


def _chunks(item: PlannedTensor) -> Iterator[Floats]:
    """Yield the tensor's rows as float32 in chunks; in whole heads if they are rearranged."""
    import numpy as np
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import dequantize

    tensor = item.source
    columns = tensor.shape[-1]
    rows = _elements(tensor) // columns if columns else 0
    if item.heads and len(tensor.shape) == 1:
        rows, columns = columns, 1  # a bias: one value a row
    if not rows:
        return
    row_bytes = tensor.size // rows
    unit = rows // item.heads if item.heads else 1
    step = max(_CHUNK_ELEMENTS // columns // unit, 1) * unit
    kind = GGMLQuantizationType(tensor.kind)
    # Read, not mapped: pages of a map count as our memory until the whole file is read.
    with tensor.path.open("rb") as source:
        source.seek(tensor.begin)
        for at in range(0, rows, step):
            count = min(step, rows - at)
            raw = np.fromfile(source, np.uint8, count * row_bytes).reshape(count, row_bytes)
            values = dequantize(raw, kind).astype(np.float32, copy=False).reshape(-1, columns)
            yield _deinterleaved(values, unit) if item.heads else values


def _deinterleaved(values: Floats, head: int) -> Floats:
    """Reorder rows (0, h/2, 1, h/2+1, …) of each head of ``head`` rows to (0, 1, 2, …).

    llama.cpp rotates neighbouring pairs of rows, transformers the two halves of a head.
    """
    import numpy as np

    columns = values.shape[1]
    pairs = values.reshape(-1, head // 2, 2, columns)
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(-1, columns)


def _as_bytes(values: Floats, dtype: str) -> bytes | memoryview:
    import numpy as np

    if dtype == "float32":
        return np.ascontiguousarray(values, dtype="<f4").data.cast("B")
    return to_bfloat16(values).astype("<u2", copy=False).data.cast("B")


def to_bfloat16(values: Floats) -> npt.NDArray[np.uint16]:
    """Return bit patterns of the nearest bfloat16, ties to even; a NaN stays one."""
    import numpy as np

    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = ((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)).astype(np.uint16)
    is_nan = (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
    quiet = ((bits >> np.uint32(16)) | np.uint32(0x40)).astype(np.uint16)
    return np.where(is_nan, quiet, rounded)
