"""Artifacts: made once, kept under a key, placed under the names that the builder asks for."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from support.checkpoints import make_llama
from trtbuild import pbtxt, toolchain
from trtbuild.builder import Artifact, Builder, Case, Workplace
from trtbuild.builder.artifacts import RECORD
from trtbuild.checkpoint import Checkpoint, inspect, open_checkpoint
from trtbuild.errors import BuildError
from trtbuild.pipeline import artifacts
from trtbuild.pipeline.artifacts import intact
from trtbuild.plan import ModelEntry, RepoFile, WeightsDir
from trtbuild.progress import SILENT, Progress
from trtbuild.recipe import ModelRecipe
from trtbuild.server import runtime


class Exporter(Builder):
    """Exports a graph, which is a copy of the configuration."""

    name = "exporter"

    def __init__(self) -> None:
        self.made = 0
        self.go = threading.Event()
        self.go.set()

    def artifacts(self, case: Case) -> tuple[Artifact, ...]:
        depends = {"opset": case.recipe.engine.get("opset", 17)}
        return (Artifact("graph", make=self._make, depends=depends, commands=self._commands),)

    def _make(self, place: Workplace) -> None:
        self.made += 1
        assert self.go.wait(60)
        files = {file.name: file.path for file in place.files}
        path = files["config.json"]
        assert path is not None
        (place.out / "graph.onnx").write_bytes(path.read_bytes())

    def _commands(self, place: Workplace) -> list[list[str]]:
        return [["export", "--out", str(place.home)]]

    def models(self, case: Case) -> tuple[ModelEntry, ...]:
        config = pbtxt.model_config(name=case.recipe.name, backend="onnxruntime")
        files = (RepoFile("config.pbtxt", pbtxt.render(config, header="Made.").encode()),)
        places = WeightsDir("1", artifact="graph", files={"graph.onnx": "model.onnx"})
        there = (places,) if "graph" in case.artifacts else ()
        return (ModelEntry(case.recipe.name, files, there),)


@pytest.fixture
def opened(tmp_path: Path) -> Checkpoint:
    return open_checkpoint(str(make_llama(tmp_path / "llama")))


def case_of(checkpoint: Checkpoint, **engine: object) -> Case:
    recipe = ModelRecipe(source="x", name="m", engine=engine)
    return Case(inspect(checkpoint), recipe, toolchain.load("26.07"), checkpoint=checkpoint)


def made(builder: Exporter, case: Case, root: Path, progress: Progress = SILENT) -> Path:
    (wanted,) = builder.artifacts(case)
    assert case.checkpoint is not None
    found = artifacts.make(
        wanted, builder, case, case.checkpoint, root=root, force=False, progress=progress
    )
    assert found.files == ("graph.onnx",)
    return found.folder


def test_the_same_is_made_once_and_a_changed_setting_makes_another(
    opened: Checkpoint, tmp_path: Path
) -> None:
    builder, root = Exporter(), tmp_path / "made"
    first = made(builder, case_of(opened), root)
    assert made(builder, case_of(opened), root) == first
    assert builder.made == 1
    assert first.parent == root / "m"
    assert made(builder, case_of(opened, opset=18), root) != first
    other = replace(case_of(opened), toolchain=toolchain.load("26.06"))
    assert made(builder, other, root) != first, "another image"
    assert builder.made == 3


@pytest.mark.parametrize("damage", ["record", "size", "gone", "key"])
def test_a_damaged_artifact_is_made_again(opened: Checkpoint, tmp_path: Path, damage: str) -> None:
    builder, root = Exporter(), tmp_path / "made"
    folder = made(builder, case_of(opened), root)
    record = json.loads((folder / RECORD).read_text())
    assert intact(folder, record["key"])
    if damage == "record":
        (folder / RECORD).write_text("[]")
    elif damage == "size":
        (folder / "graph.onnx").write_bytes(b"")
    elif damage == "gone":
        (folder / "graph.onnx").unlink()
    else:
        (folder / RECORD).write_text(json.dumps({**record, "key": "other"}))
    assert not intact(folder, record["key"])
    assert made(builder, case_of(opened), root) == folder
    assert builder.made == 2
    assert intact(folder, record["key"])


def test_two_conversions_at_a_time_make_it_once(opened: Checkpoint, tmp_path: Path) -> None:
    builder, root = Exporter(), tmp_path / "made"
    builder.go.clear()
    said: list[str] = []

    class Told(Progress):
        def step(self, text: str) -> None:
            said.append(text)
            builder.go.set()

    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(made, builder, case_of(opened), root, Told()) for _ in range(2)]
        first, second = (task.result(timeout=60) for task in both)
    assert first == second
    assert builder.made == 1
    assert said == ["waiting for another conversion that makes artifacts of m"]


def test_one_that_fails_leaves_nothing(opened: Checkpoint, tmp_path: Path) -> None:
    def fail(place: Workplace) -> None:
        (place.out / "half").write_bytes(b"x")
        raise BuildError("no", fix="none")

    broken = Artifact("graph", make=fail)
    case = case_of(opened)
    with pytest.raises(BuildError, match="no"):
        artifacts.make(
            broken, Exporter(), case, opened, root=tmp_path / "made", force=False, progress=SILENT
        )
    assert list((tmp_path / "made/m").iterdir()) == []


def test_a_dry_run_prints_its_commands(opened: Checkpoint, tmp_path: Path) -> None:
    builder, case = Exporter(), case_of(opened)
    (line,) = artifacts.commands(builder.artifacts(case), builder, case, opened, tmp_path)
    assert line.startswith(f"export --out {tmp_path}/m/")
    assert builder.made == 0


class Told:
    def __init__(self, said: list[str]) -> None:
        self.step = said.append

    def advance(self, done: int, total: int, unit: str = "B") -> None: ...


@pytest.mark.parametrize("state", ["ready", "missing"])
def test_an_optional_artifact_waits_for_no_installation(
    state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "status", lambda _: (SimpleNamespace(state=state),))
    said: list[str] = []
    optional = Artifact("answers", environment="export", optional=True)
    needed = (Artifact("graph", environment="export"), optional)
    kept = [one.name for one in artifacts.possible(needed, Told(said))]
    assert kept == (["graph", "answers"] if state == "ready" else ["graph"])
    assert all("trtbuild runtime install export" in line for line in said)
    assert len(said) == (state == "missing")
