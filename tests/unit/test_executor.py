"""Running NVIDIA's tools: what is told to them, and what is believed of an engine folder."""

from __future__ import annotations

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.trtllm_tools import builds, write_build
from trtbuild.plan import EngineBuild
from trtbuild.progress import Progress
from trtbuild_engine_flow.executor import (
    MANIFEST,
    Compilation,
    Runner,
    commands,
    compile_engine,
    intact,
)


def job(out: Path, *names: str) -> Compilation:
    """A compilation of the checkpoint of ``names`` in the folder ``/hub/opt``."""
    build = EngineBuild(
        release="1.2.1", dtype="float16", tp=1, pp=1, family="opt", workers=1, options=(),
        build_config={},
    )  # fmt: skip
    files = tuple((name, Path("/hub/opt") / name) for name in names)
    return Compilation("llm", "k" * 64, "org/opt", "image", build, files, out, 89, "NVIDIA L4")


def test_a_checkpoint_is_named_by_its_own_folder(tmp_path: Path) -> None:
    """Its first file may lie in a folder of it."""
    files = ("1_Pooling/config.json", "config.json")
    convert, _ = commands(job(tmp_path / "engine", *files), Runner("", ""))
    assert convert[convert.index("--model") + 1] == "/hub/opt"
    convert, _ = commands(job(tmp_path / "engine", *files), Runner("docker", "image"))
    assert convert[convert.index("--model") + 1] == "/build/hf"
    assert "/hub/opt/1_Pooling/config.json:/build/hf/1_Pooling/config.json:ro" in convert


def test_two_conversions_at_a_time_compile_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both would name their container alike, and each begins by removing what has the name."""
    tools, steps = tmp_path / "tools", threading.Event()
    write_build(tools)
    monkeypatch.setenv("PATH", f"{tools}:{Path(sys.executable).parent}:/usr/bin:/bin")
    one = replace(job(tmp_path / "engines" / "llm" / "key"), files=())
    told: list[str] = []

    class Told(Progress):
        def step(self, text: str) -> None:
            told.append(text)
            steps.set()

    def prepare(checkpoint: Path) -> None:
        checkpoint.mkdir()
        config = {"architecture": "OPTForCausalLM", "mapping": {"world_size": 1}}
        (checkpoint / "config.json").write_text(json.dumps(config), encoding="utf-8")
        assert steps.wait(10), "the second one says that it waits"

    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(compile_engine, one, Runner("", ""), prepare, progress=Told())
                for _ in range(2)]  # fmt: skip
        made = [task.result(timeout=30) for task in both]
    assert made[0] == made[1]
    assert len(builds(tools)) == 1
    assert told[0] == "waiting for another conversion that compiles for llm"


def engine(folder: Path, **changes: Any) -> Path:
    """An engine folder with its manifest."""
    folder.mkdir()
    (folder / "rank0.engine").write_bytes(b"engine")
    document = {
        "version": 1, "key": "k", "model": "llm", "source": "org/opt", "image": "image",
        "sm": 89, "gpu": "NVIDIA L4", "options": [], "files": {"rank0.engine": 6},
    }  # fmt: skip
    (folder / MANIFEST).write_text(json.dumps({**document, **changes}), encoding="utf-8")
    return folder


def test_an_engine_with_its_manifest_is_taken(tmp_path: Path) -> None:
    found = intact(engine(tmp_path / "e"), "k")
    assert found is not None
    assert found.files == {"rank0.engine": 6}


@pytest.mark.parametrize(
    "changes",
    [{"files": 6}, {"files": ["rank0.engine"]}, {"files": {"rank0.engine": None}},
     {"files": {"rank0.engine": 7}}, {"options": 5}, {"version": 2}, {"further": 1}],
)  # fmt: skip
def test_a_damaged_manifest_is_none(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert intact(engine(tmp_path / "e", **changes), "k") is None
