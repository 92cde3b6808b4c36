"""What every builder owes the core, whoever wrote it: found by entry point, not by name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.specs import deepseek_v3, llama_8b, with_code
from trtbuild import pbtxt, toolchain
from trtbuild.builder import ENTRY_POINT_GROUP, Builder, Case, discover
from trtbuild.modelspec import SourceRef, Task
from trtbuild.plan import ModelEntry, Step
from trtbuild.recipe import ModelRecipe, check_model_name

FOUND = discover()
SPECS = [
    llama_8b(),
    llama_8b(source=SourceRef("local", "llama")),
    llama_8b(source=SourceRef("sample", "sample:smollm2"), dtype="float32"),
    llama_8b(task=Task.EMBED),
    llama_8b(task=Task.VISION_LANGUAGE, architecture="Qwen2VLForConditionalGeneration"),
    llama_8b(task=Task.RERANK),
    with_code(),
    deepseek_v3(),
]
RECIPES = [
    ModelRecipe(source="x", name="model"),
    ModelRecipe(source="x", name="model", weights="hub", metrics=False, health_check=False),
    ModelRecipe(source="x", name="Mo-del_2.5", adapters={"fr": "./somewhere"}),
]


@pytest.fixture(params=FOUND, ids=lambda found: found.name, scope="module")
def builder(request: pytest.FixtureRequest) -> Builder:
    assert request.param.problem == ""
    found: Builder = request.param.builder
    return found


def cases() -> Iterator[Case]:
    for tools in toolchain.releases():
        for spec in SPECS:
            for recipe in RECIPES:
                yield Case(spec, recipe, tools)


def combinations(builder: Builder) -> Iterator[Case]:
    """Every case that the builder says it can do."""
    return (case for case in cases() if not builder.reasons_unsupported(case))


Made = list[tuple[Case, tuple[ModelEntry, ...]]]


@pytest.fixture(scope="module")
def made(builder: Builder) -> Made:
    """What the builder makes of every case it can do."""
    return [(case, tuple(builder.models(case))) for case in combinations(builder)]


def entries(made: Made) -> Iterator[tuple[ModelRecipe, ModelEntry]]:
    return ((case.recipe, entry) for case, models in made for entry in models)


def test_there_is_a_builder_in_the_group() -> None:
    assert ENTRY_POINT_GROUP == "trtbuild.builders.v1"
    assert "vllm" in [found.name for found in FOUND]


@pytest.mark.parametrize("field", ["metrics", "health_check"])
def test_it_takes_what_changes_its_models(builder: Builder, field: str) -> None:
    # the lock records, and the command line accepts, only what a builder takes
    pairs = [
        [Case(llama_8b(), ModelRecipe(source="x", name="model", **{field: on}), tools)
         for on in (True, False)]
        for tools in toolchain.releases()
    ]  # fmt: skip
    possible = [pair for pair in pairs if not any(map(builder.reasons_unsupported, pair))]
    changed = any(repr(builder.models(on)) != repr(builder.models(off)) for on, off in possible)
    assert (field in builder.takes) == changed


def test_it_says_who_it_is(builder: Builder) -> None:
    assert isinstance(builder, Builder)
    entry_point = next(found.name for found in FOUND if found.builder is builder)
    assert builder.name == entry_point
    assert 10 < len(builder.summary) < 120
    assert isinstance(builder.priority, int)


def test_it_can_do_something(made: Made) -> None:
    assert made


def test_reasons_are_sentences_for_people(builder: Builder) -> None:
    told = {reason for case in cases() for reason in builder.reasons_unsupported(case)}
    assert told, "nothing speaks against anything"
    for reason in told:
        assert 20 < len(reason) < 300
        assert "Traceback" not in reason
        assert "\n" not in reason


def test_the_same_in_gives_the_same_out(builder: Builder, made: Made) -> None:
    for case, models in made:
        assert tuple(builder.models(case)) == models
        assert builder.steps(case) == builder.steps(case)
        assert builder.signature(case) == builder.signature(case)


def test_it_tells_its_steps_and_its_image(builder: Builder, made: Made) -> None:
    for case, _ in made:
        steps = builder.steps(case)
        assert steps
        assert all(isinstance(step, Step) and step.title for step in steps)
        assert builder.image(case.toolchain).startswith("nvcr.io/nvidia/tritonserver:")


def test_every_config_parses_and_names_its_model(made: Made) -> None:
    for recipe, entry in entries(made):
        assert entry.name.startswith(recipe.name), "sub-models are prefixed, so that none collide"
        check_model_name(entry.name)
        text = {f.path: f.content for f in entry.files}["config.pbtxt"].decode()
        config = pbtxt.parse(text)
        assert config.name == entry.name
        assert "max_batch_size" in text
        header = "\n".join(
            line.removeprefix("#").removeprefix(" ")
            for line in text.splitlines()
            if line.startswith("#")
        )
        assert header, "who opens the file must learn where it comes from"
        assert pbtxt.render(config, header=header) == text


def test_paths_stay_inside_the_model_and_weights_inside_a_version(made: Made) -> None:
    for _, entry in entries(made):
        paths = [file.path for file in entry.files] + [place.path for place in entry.weights]
        assert len(set(paths)) == len(paths)
        for path in paths:
            assert not path.startswith("/")
            assert ".." not in path.split("/")
        for place in entry.weights:
            assert re.match(r"[1-9]\d*(/|$)", place.path)


def test_nothing_of_this_machine_is_written(made: Made) -> None:
    home, here = str(Path.home()), str(Path(__file__).parents[2])
    for _, entry in entries(made):
        for file in entry.files:
            text = file.content.decode()
            for path in (home + "/", here, "./somewhere"):
                assert path not in text
            assert not re.search(r"\d{4}-\d\d-\d\d", text), (
                "no date: the same recipe, the same bytes"
            )


def test_no_placeholder_is_left(made: Made) -> None:
    for _, entry in entries(made):
        for file in entry.files:
            # code is copied, never rendered, and may speak of templates
            copied = file.path.endswith(".py")
            assert copied or not re.search(rb"\$\{|\{\{|\{%", file.content)
