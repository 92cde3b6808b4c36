"""safetensors headers from anybody: exact when right, refused when not."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from support.checkpoints import write_safetensors
from trtbuild.errors import ExitCode, UnsupportedError
from trtbuild.files.safetensors import Header, read_header


def read(content: bytes, size: int | None = None) -> Header:
    return read_header(
        "model.safetensors",
        len(content) if size is None else size,
        lambda at, n: content[at : at + n],
    )


def made(entries: Any, data: bytes = b"") -> bytes:
    body = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(body)) + body + data


def entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_agrees_with_the_reference_library(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(4, np.int8)}
    save_file(arrays, tmp_path / "x.safetensors", metadata={"format": "pt"})
    content = (tmp_path / "x.safetensors").read_bytes()
    header = read(content)
    assert header.metadata == {"format": "pt"}
    for name, array in arrays.items():
        info = header.tensors[name]
        assert content[info.begin : info.end] == array.tobytes()
        assert info.shape == array.shape
        assert info.elements == array.size


def test_a_header_beyond_the_first_read(tmp_path: Path) -> None:
    arrays = {f"layer.{n}.weight" * 5: np.zeros((1, 2), np.float32) for n in range(2000)}
    write_safetensors(tmp_path / "x.safetensors", arrays)
    content = (tmp_path / "x.safetensors").read_bytes()
    reads: list[tuple[int, int]] = []

    def ranges(at: int, length: int) -> bytes:
        reads.append((at, length))
        return content[at : at + length]

    assert len(read_header("x", len(content), ranges).tensors) == 2000
    assert len(reads) == 2
    assert sum(length for _, length in reads) < len(content)


GOOD = {"a": entry([2], 0, 8), "b": entry([1], 8, 12)}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "too few for a safetensors file"),
        (b"1234567", "too few for a safetensors file"),
        (struct.pack("<Q", 10**15) + b"{}", "is not a safetensors file"),
        (struct.pack("<Q", 500) + b"{}", "is truncated"),
        (made(b"{nonsense"), "header that is not JSON"),
        (made(b"\xff\xfe{}"), "header that is not JSON"),
        (made(b"[" * 100_000), "header that is not JSON"),
        (made([1, 2]), "not a JSON object"),
        (made({"a": 3}), "something that is not an object"),
        (made({"a": entry([2], 0, 8, "F99")}), "unknown type 'F99'"),
        (made({"a": entry([-2], 0, 8)}), "malformed shape"),
        (made({"a": entry([True], 0, 4)}), "malformed shape"),
        (made({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}), "malformed shape"),
        (made({"a": entry([2], 8, 0)}), "-8 bytes where F32 [2] needs 8"),
        (made({"a": entry([3], 0, 8)}, bytes(8)), "8 bytes where F32 [3] needs 12"),
        (made({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)), "overlaps"),
        (made({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, bytes(12)), "leaves a hole"),
        (made({"a": entry([1], 4, 8)}, bytes(8)), "leaves a hole"),
        (made(GOOD, bytes(5)), "is truncated"),
        (made(GOOD, bytes(20)), "8 bytes after its last tensor"),
        (made(b'{"a":1,"a":2}'), "a key occurs twice"),
        (made({"__metadata__": [1]}), "__metadata__"),
    ],
)
def test_damage_is_named(content: bytes, said: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        read(content)
    assert said in caught.value.what
    assert "model.safetensors" in caught.value.what
    assert caught.value.exit_code == ExitCode.UNSUPPORTED
    assert caught.value.fix


@given(st.binary(max_size=300), st.booleans())
def test_random_bytes_never_crash(noise: bytes, framed: bool) -> None:
    try:
        read(made(noise) if framed else noise)
    except UnsupportedError as error:
        assert error.what


@given(st.data())
def test_a_flipped_byte_never_crashes(data: st.DataObject) -> None:
    content = bytearray(made(GOOD, bytes(12)))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
    try:
        header = read(bytes(content))
    except UnsupportedError as error:
        assert error.what
    else:
        assert max((info.end for info in header.tensors.values()), default=0) <= len(content)
