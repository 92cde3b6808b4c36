"""What the entry-point group holds: builders, and things that are none, each with its problem."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from support.specs import llama_8b
from trtbuild.builder import ENTRY_POINT_GROUP, Builder, Case, discovery
from trtbuild.check import plugins
from trtbuild.modelspec import Head, Task
from trtbuild.plan import ModelEntry, RepoFile, WeightsDir
from trtbuild.recipe import ModelRecipe
from trtbuild.signature import ServedTask
from trtbuild.signature.dialects import discovery as schemas
from trtbuild.toolchain import load


class Short(Builder):
    """As short as a builder can be."""

    name = "short"

    def models(self, case: Case) -> tuple[ModelEntry, ...]:
        weights = (WeightsDir("1"), WeightsDir("1/a", "french"))
        return (ModelEntry(case.recipe.name, (RepoFile("config.pbtxt", b""),), weights),)


class Unwritten(Builder):
    name = "short"


GOOD = Short()
NO_MODELS = Unwritten()
NO_BUILDER = object()


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("short", "GOOD", ""),
        ("short", "Short", "is a class: point to an instance (builder = Short())"),
        (
            "short",
            "NO_BUILDER",
            "of type object: derive its class from trtbuild.builder",
        ),
        ("short", "NO_MODELS", "does not define models(case)"),
        ("other", "GOOD", "is named 'short', but its entry point 'other'"),
        ("short", "NOTHING", "AttributeError"),
    ],
)
def test_why_something_is_not_a_builder(name: str, value: str, problem: str) -> None:
    point = EntryPoint(name, f"{__name__}:{value}", ENTRY_POINT_GROUP)
    found = discovery.load_point(point)
    assert (found.builder is None) == bool(problem)
    assert problem in found.problem


@pytest.mark.parametrize("load", [discovery.load_point, plugins._loaded, schemas._load])
def test_a_plug_in_that_exits_does_not_end_the_program(
    load: Callable[[EntryPoint], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "leaving.py").write_text("raise SystemExit(0)")
    monkeypatch.syspath_prepend(tmp_path)
    assert load(EntryPoint("leaving", "leaving:it", "any")).problem == "SystemExit: 0"


def test_a_builder_that_leaves_everything_out_gets_the_defaults() -> None:
    case = Case(llama_8b(task=Task.EMBED), ModelRecipe(source="x", name="m"), load("26.07"))
    assert GOOD.reasons_unsupported(case) == ()
    assert GOOD.preference(case) == GOOD.priority == 0
    assert GOOD.image(case.toolchain) == "nvcr.io/nvidia/tritonserver:26.07-py3"
    assert [step.title for step in GOOD.steps(case)] == [
        "Place the checkpoint's files under m/1",
        "Place the adapter 'french' under m/1/a",
        "Write m: config.pbtxt",
    ]
    assert (GOOD.warnings(case), GOOD.versions(case)) == ((), {})
    assert GOOD.signature(case).task is ServedTask.EMBED


def test_the_card_has_the_checkpoints_head() -> None:
    head = Head(pooling=("mean",), dimension=384, prompts={"query": "query: "})
    spec = llama_8b(task=Task.EMBED, head=head)
    case = Case(spec, ModelRecipe(source="x", name="m"), load("26.07"))
    assert GOOD.signature(case).head == head


@pytest.mark.parametrize("task", Task)
def test_every_task_is_one_of_a_served_model(task: Task) -> None:
    case = Case(llama_8b(task=task), ModelRecipe(source="x", name="m"), load("26.07"))
    expected = "tensor" if task is Task.AUDIO else task.value
    assert GOOD.signature(case).task.value == expected
