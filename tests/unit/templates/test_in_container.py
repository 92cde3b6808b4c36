"""The program that runs in NVIDIA's image: exit codes, what it says, what is missing."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.trtllm_tools import write_build, write_image, write_nvidia_smi
from trtbuild_engine_flow.resources import template_dir

SCRIPT = template_dir("trtllm_engine") / "in_container.py"


def run(
    *arguments: str, path: Path, python: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PATH": f"{path}:/usr/bin:/bin"}
    return subprocess.run(
        [python, str(SCRIPT), *arguments], env=env, capture_output=True, text=True, check=False
    )


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """``--checkpoint`` and ``--out`` of a checkpoint with two ranks."""
    checkpoint, out = tmp_path / "checkpoint", tmp_path / "out"
    checkpoint.mkdir()
    out.mkdir()
    config = {"mapping": {"world_size": 2, "tp_size": 2, "pp_size": 1}}
    (checkpoint / "config.json").write_text(json.dumps(config))
    return ["--checkpoint", str(checkpoint), "--out", str(out)]


def said(done: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    lines = [line for line in done.stdout.splitlines() if line.startswith("@trtbuild ")]
    return [json.loads(line.removeprefix("@trtbuild ")) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12"])
def test_it_builds_and_says_how_far_it_is(tmp_path: Path, folders: list[str], version: str) -> None:
    python = shutil.which(f"python{version}")
    # a version manager's shim is on PATH and may stand for nothing
    if not python or subprocess.run([python, "-V"], check=False, capture_output=True).returncode:
        pytest.skip(f"no python{version} here")
    write_build(tmp_path / "bin")
    write_nvidia_smi(tmp_path / "bin")
    options = ["--max_batch_size", "4", "--weight_streaming"]
    done = run("build", *folders, "--", *options, path=tmp_path / "bin", python=python)
    assert done.returncode == 0, done.stderr
    facts = said(done)
    assert facts[0]["versions"] == {"driver": "580.65.06"}
    assert [fact["done"] for fact in facts[1:]] == [1, 2]
    assert "[TRT-LLM] [I] Building" in done.stdout
    (call,) = (tmp_path / "bin/builds.jsonl").read_text().splitlines()
    assert json.loads(call)[-3:] == options


@pytest.mark.parametrize(("behaviour", "code"), [({"exits": 3}, 3), ({"signal": 9}, 137)])
def test_the_tools_end_is_its_own(
    tmp_path: Path, folders: list[str], behaviour: dict[str, int], code: int
) -> None:
    write_build(tmp_path / "bin", **behaviour)
    assert run("build", *folders, "--", path=tmp_path / "bin").returncode == code


def test_an_image_without_the_tools(tmp_path: Path, folders: list[str]) -> None:
    done = run("build", *folders, "--", path=tmp_path)
    assert done.returncode == 127
    assert "trtllm-build is not in this image" in done.stdout
    arguments = ["--family", "opt", "--model", "x", "--out", "y", "--dtype", "float16"]
    done = run("convert", *arguments, path=tmp_path)
    assert done.returncode == 127
    assert "no convert_checkpoint.py of 'opt'" in done.stdout


def test_the_images_own_converter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "bin")
    monkeypatch.setenv("TRTLLM_EXAMPLES", str(tmp_path / "bin/inside/examples"))
    out = tmp_path / "out"
    out.mkdir()
    arguments = ["--family", "opt", "--model", "x", "--out", str(out), "--dtype", "float16"]
    done = run("convert", *arguments, "--tp", "2", path=tmp_path / "bin")
    assert done.returncode == 0, done.stdout
    assert json.loads((out / "config.json").read_text())["mapping"]["tp_size"] == 2


def test_it_imports_nothing_but_the_standard_library() -> None:
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"))
    names = {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {
        (node.module or "").split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }
    assert names <= set(sys.stdlib_module_names)
