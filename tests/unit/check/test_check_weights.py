"""Safetensors files: each kind of damage is told from the others."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from trtbuild.check.examples import safetensors
from trtbuild.check.reading import OutsideError
from trtbuild_rules.readers.safetensors import problem_of


def file(folder: Path, header: Any, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "x.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def tensor(begin: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_a_sound_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors(a=(2, 3), b=(4,), c=()))
    assert problem_of(path, tmp_path) == ""
    half = {"__metadata__": {"format": "pt"}, "q": tensor(0, 2, [4], "F4")}
    assert problem_of(file(tmp_path, half, bytes(2)), tmp_path) == ""


@pytest.mark.parametrize(
    ("dtype", "shape", "problem"),
    [
        ("F6_E2M3", [4], ""),
        ("F8_E4M3FNUZ", [3], ""),
        ("F6_E3M2", [8], "it has tensor 'q' with 3 bytes where F6_E3M2 [8] needs 6"),
        ("F4", [5], "it has tensor 'q' with 3 bytes where F4 [5] needs 2.5"),
        ("NEW", [3], "it has tensor 'q' of unknown type 'NEW'"),
    ],
)
def test_every_type_of_the_format_is_measured(
    tmp_path: Path, dtype: str, shape: list[int], problem: str
) -> None:
    path = file(tmp_path, {"q": tensor(0, 3, shape, dtype)}, bytes(3))
    assert problem_of(path, tmp_path) == problem


@pytest.mark.parametrize(
    ("header", "data", "problem"),
    [
        (b"[", b"", "it has a header that is not JSON (Expecting value: line 1 column 2 (char 1))"),
        ([], b"", "it has a header that is not a JSON object"),
        ({"a": 1}, b"", "it describes tensor 'a' by something that is not an object"),
        ({"a": tensor(4, 0, [1])}, b"", "it has tensor 'a' with -4 bytes where F32 [1] needs 4"),
        (
            {"a": tensor(0, 4, [-1])},
            bytes(4),
            "it has tensor 'a' with a malformed shape or data_offsets",
        ),
        ({"a": tensor(0, 8, [2])}, bytes(4), "it is truncated: 73 bytes where its header needs 77"),
        ({"a": tensor(0, 4, [1])}, bytes(9), "it has 5 bytes after its last tensor"),
        ({"a": tensor(4, 8, [1])}, bytes(8), "it has tensor 'a' that leaves a hole before it"),
        (
            {"a": tensor(0, 8, [2]), "b": tensor(4, 12, [2])},
            bytes(12),
            "it has tensor 'b' that overlaps the tensor before it",
        ),
        (
            {"a": tensor(0, 8, [3])},
            bytes(8),
            "it has tensor 'a' with 8 bytes where F32 [3] needs 12",
        ),
    ],
)
def test_damage(tmp_path: Path, header: Any, data: bytes, problem: str) -> None:
    assert problem_of(file(tmp_path, header, data), tmp_path) == problem


def test_what_is_no_file(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_bytes(b"\x05")
    assert problem_of(short, tmp_path) == "it has 1 bytes, too few for a safetensors file"
    os.mkfifo(tmp_path / "pipe")
    assert problem_of(tmp_path / "pipe", tmp_path) == "it is not a file"
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "link").symlink_to(short)
    with pytest.raises(OutsideError):
        problem_of(tmp_path / "repo" / "link", tmp_path / "repo")
