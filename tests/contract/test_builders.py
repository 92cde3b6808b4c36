"""What every builder owes the core, whoever wrote it: found by entry point, not by name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.specs import deepseek_v3, llama_8b, with_code
from trtbuild import pbtxt, toolchain
from trtbuild.builder import ENTRY_POINT_GROUP, Builder, discover
from trtbuild.modelspec import ModelSpec, SourceRef, Task
from trtbuild.plan import ModelEntry, Step
from trtbuild.recipe import ModelRecipe, check_model_name
from trtbuild.toolchain import Toolchain

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


@pytest.fixture(params=FOUND, ids=lambda found: found.name)
def builder(request: pytest.FixtureRequest) -> Builder:
    assert request.param.problem == ""
    found: Builder = request.param.builder
    return found


def combinations(builder: Builder) -> Iterator[tuple[ModelSpec, ModelRecipe, Toolchain]]:
    """Every case that the builder says it can do."""
    for tools in toolchain.releases():
        for spec in SPECS:
            for recipe in RECIPES:
                if not builder.reasons_unsupported(spec, recipe, tools):
                    yield spec, recipe, tools


def models(builder: Builder) -> Iterator[tuple[ModelRecipe, ModelEntry]]:
    for spec, recipe, tools in combinations(builder):
        for entry in builder.models(spec, recipe, tools):
            yield recipe, entry


def test_there_is_a_builder_in_the_group() -> None:
    assert ENTRY_POINT_GROUP == "trtbuild.builders.v1"
    assert "vllm" in [found.name for found in FOUND]


def test_it_says_who_it_is(builder: Builder) -> None:
    assert isinstance(builder, Builder)
    entry_point = next(found.name for found in FOUND if found.builder is builder)
    assert builder.name == entry_point
    assert 10 < len(builder.summary) < 120
    assert isinstance(builder.priority, int)


def test_its_templates_are_a_folder_with_something_in_it(builder: Builder) -> None:
    folder = builder.templates()
    assert folder.is_dir()
    assert any(folder.iterdir())


def test_it_can_do_something(builder: Builder) -> None:
    assert next(combinations(builder), None) is not None


def test_reasons_are_sentences_for_people(builder: Builder) -> None:
    told = {
        reason
        for tools in toolchain.releases()
        for spec in SPECS
        for recipe in RECIPES
        for reason in builder.reasons_unsupported(spec, recipe, tools)
    }
    assert told, "nothing speaks against anything"
    for reason in told:
        assert 20 < len(reason) < 300
        assert "Traceback" not in reason
        assert "\n" not in reason


def test_the_same_in_gives_the_same_out(builder: Builder) -> None:
    for spec, recipe, tools in combinations(builder):
        first, second = builder.models(spec, recipe, tools), builder.models(spec, recipe, tools)
        assert first == second
        assert builder.steps(spec, recipe, tools) == builder.steps(spec, recipe, tools)
        assert builder.server_args(recipe) == builder.server_args(recipe)


def test_it_tells_its_steps_and_its_image(builder: Builder) -> None:
    for spec, recipe, tools in combinations(builder):
        steps = builder.steps(spec, recipe, tools)
        assert steps
        assert all(isinstance(step, Step) and step.title for step in steps)
        assert builder.image(tools).startswith("nvcr.io/nvidia/tritonserver:")


def test_every_config_parses_and_names_its_model(builder: Builder) -> None:
    for recipe, entry in models(builder):
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


def test_paths_stay_inside_the_model_and_weights_inside_a_version(builder: Builder) -> None:
    for _, entry in models(builder):
        paths = [file.path for file in entry.files] + [place.path for place in entry.weights]
        assert len(set(paths)) == len(paths)
        for path in paths:
            assert not path.startswith("/")
            assert ".." not in path.split("/")
        for place in entry.weights:
            assert re.match(r"[1-9]\d*(/|$)", place.path)


def test_nothing_of_this_machine_is_written(builder: Builder) -> None:
    home, here = str(Path.home()), str(Path(__file__).parents[2])
    for _, entry in models(builder):
        for file in entry.files:
            text = file.content.decode()
            for path in (home + "/", here, "./somewhere"):
                assert path not in text
            assert not re.search(r"\d{4}-\d\d-\d\d", text), (
                "no date: the same recipe, the same bytes"
            )


def test_no_placeholder_is_left(builder: Builder) -> None:
    for _, entry in models(builder):
        for file in entry.files:
            # code is copied, never rendered, and may speak of templates
            copied = file.path.endswith(".py")
            assert copied or not re.search(rb"\$\{|\{\{|\{%", file.content)
