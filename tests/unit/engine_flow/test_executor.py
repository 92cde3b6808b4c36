"""Running NVIDIA's tools: what is told to them, and what is believed of an engine directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trtbuild_engine_flow.executor import (
    MANIFEST,
    Compilation,
    EngineBuild,
    Runner,
    commands,
    read_manifest,
)


def job(out: Path, *names: str) -> Compilation:
    """A compilation of the checkpoint of ``names`` in the directory ``/hub/opt``."""
    build = EngineBuild(
        release="1.2.1", dtype="float16", tp=1, pp=1, family="opt", workers=1, options=(),
        build_config={},
    )  # fmt: skip
    files = tuple((name, Path("/hub/opt") / name) for name in names)
    return Compilation("llm", "k" * 64, "org/opt", "image", build, files, out, out, 89, "NVIDIA L4")


def test_a_checkpoint_is_named_by_its_own_folder(tmp_path: Path) -> None:
    """Its first file may lie in a directory of it."""
    files = ("1_Pooling/config.json", "config.json")
    convert, _ = commands(job(tmp_path / "engine", *files), Runner("", ""))
    assert convert[convert.index("--model") + 1] == "/hub/opt"
    convert, _ = commands(job(tmp_path / "engine", *files), Runner("docker", "image"))
    assert convert[convert.index("--model") + 1] == "/build/hf"
    assert "/hub/opt/1_Pooling/config.json:/build/hf/1_Pooling/config.json:ro" in convert


def engine(folder: Path, **changes: Any) -> Path:
    """An engine directory with its manifest."""
    folder.mkdir()
    (folder / "rank0.engine").write_bytes(b"engine")
    document = {
        "version": 1, "key": "k", "model": "llm", "source": "org/opt", "image": "image",
        "sm": 89, "gpu": "NVIDIA L4", "options": [], "files": {"rank0.engine": 6},
    }  # fmt: skip
    (folder / MANIFEST).write_text(json.dumps({**document, **changes}), encoding="utf-8")
    return folder


def test_an_engine_with_its_manifest_is_taken(tmp_path: Path) -> None:
    found = read_manifest(engine(tmp_path / "e"))
    assert found is not None
    assert found.files == {"rank0.engine": 6}


@pytest.mark.parametrize(
    "changes",
    [{"files": 6}, {"files": ["rank0.engine"]}, {"files": {"rank0.engine": None}},
     {"options": 5}, {"version": 2}, {"further": 1}],
)  # fmt: skip
def test_a_damaged_manifest_is_none(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert read_manifest(engine(tmp_path / "e", **changes)) is None
