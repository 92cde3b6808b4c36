"""A recipe is read whole or refused with every problem, each at its line."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from trtbuild import recipe
from trtbuild.errors import RecipeError, UsageError

GOOD = """\
version: 1
triton: 26.10
repository: models
models:
  - source: Qwen/Qwen2.5-0.5B-Instruct@main
    name: qwen
    engine: {max_model_len: 4096, dtype: half}
    adapters: {french: ./lora}
  - source: sample:smollm2
    dtype: bfloat16
    metrics: false
"""


def refuse(text: str) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        recipe.parse(text)
    assert caught.value.exit_code == 3
    assert caught.value.fix
    return caught.value


def problems(text: str) -> list[str]:
    error = refuse(text)
    return list(error.details) or [f"{error.where}: {error.what}"]


def test_a_whole_recipe_is_read() -> None:
    found = recipe.parse(GOOD.replace("26.10", "26.07"))
    assert found.triton == "26.07"
    assert found.repository == "models"
    first, second = found.models
    assert first.engine == {"max_model_len": 4096, "dtype": "half"}
    assert first.adapters == {"french": "./lora"}
    assert (second.name, second.dtype, second.metrics, second.health_check) == (
        "", "bfloat16", False, True,
    )  # fmt: skip


def test_an_unquoted_release_is_read_as_written() -> None:
    found = recipe.parse("triton: 25.10\nmodels: [{source: a}]\n")
    assert found.triton == "25.10", "YAML alone would have made it 25.1"


def test_every_problem_at_once_with_its_line() -> None:
    text = "triton: 26.7\nmodels:\n  - source: x\n    enginee: {}\n    metrics: 'yes'\n"
    assert problems(text) == [
        "trtbuild.yaml:1: 'triton' must look like YY.MM, not '26.7'",
        "trtbuild.yaml:4: unknown key 'models[0].enginee': did you mean 'engine'?",
        "trtbuild.yaml:5: 'models[0].metrics' must be a valid boolean, not text 'yes'",
    ]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("models: []", 1, "'models' is an empty list"),
        ("modles: [{source: a}]", 1, "did you mean 'models'?"),
        ("models:\n- name: a", 2, "'models[0].source' is missing"),
        ("models:\n- source: 7", 2, "must be a valid string, not number 7"),
        ("models:\n- source: ''", 2, "is empty"),
        ("models:\n- source: a\n  weights: link", 3, "'copy' or 'hub', not 'link'"),
        ("models:\n- source: a\n  name: a/b", 3, "cannot be a model name"),
        ("models:\n- source: a\n  adapters: {../x: b}", 3, "cannot be a model name"),
        ("models:\n- source: a\n  name: x\n- source: b\n  name: x", 5, "the other is on line 3"),
        ("models:\n- source: a\n- source: a", 3, "two models are named"),
        ("models:\n- source: a\n  name: x\n  name: y", 4, "'name' is given twice"),
        ("version: 2\nmodels: [{source: a}]", 1, "'version' must be 1, not 2"),
        ("triton: '22.01'\nmodels: [{source: a}]", 1, "unknown Triton release '22.01'"),
        ("models:\n- source: a\n  zzz: 1", 3, "known keys are source, name"),
        ("models: a", 1, "must be a valid"),
    ],
)
def test_what_cannot_be_is_said_with_its_line(text: str, line: int, said: str) -> None:
    assert [p for p in problems(text) if p.startswith(f"trtbuild.yaml:{line}: ") and said in p]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("# only a comment\n", "empty"),
        ("- a", "a list, not a mapping"),
        ("just text", "a text, not a mapping"),
        ("models: [", "not YAML"),
        ("a: !!python/object/apply:os.system [ls]", "not YAML"),
    ],
)
def test_what_is_no_recipe_at_all(text: str, said: str) -> None:
    assert said in refuse(text).what


def test_a_broken_yaml_names_the_place() -> None:
    assert refuse("models:\n  - source: 'a\n").where.startswith("trtbuild.yaml:3:")


def test_the_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trtbuild.yaml"
    path.write_text("models: []\n")
    with pytest.raises(RecipeError) as caught:
        recipe.load(path)
    assert caught.value.where == f"{path}:1"


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"the recipe 'none\.yaml'") as caught:
        recipe.load(tmp_path / "none.yaml")
    assert "trtbuild schema" in caught.value.fix


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        recipe.load(tmp_path)


def test_bad_utf8(tmp_path: Path) -> None:
    path = tmp_path / "trtbuild.yaml"
    path.write_bytes(b"models: [{source: \xff}]\n")
    with pytest.raises(RecipeError, match="byte 18 is 0xff"):
        recipe.load(path)


def test_the_schema_takes_what_the_loader_takes_and_refuses_what_it_refuses() -> None:
    schema = recipe.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(yaml.safe_load(GOOD.replace("26.10", "25.10")))
    assert not validator.is_valid(yaml.safe_load("triton: 22.01\nmodels: [{source: a}]"))
    assert not validator.is_valid({"models": [{"source": "a", "enginee": {}}]})
    assert not validator.is_valid({"models": []})
    json.dumps(schema)


@pytest.mark.parametrize("name", ["a", "Qwen2.5-0.5B-Instruct", "a_b", "0", "a" * 63])
def test_good_names(name: str) -> None:
    assert recipe.check_model_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "a/b", "..", "a..b", "a b", 'a"b', "a'b", "-a", ".a", "ä", "a\n", "a" * 64, "a" * 300],
)
def test_bad_names(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        recipe.check_model_name(name)
    assert caught.value.exit_code == 2
    assert len(caught.value.what) < 120


def test_flags_make_the_same_model() -> None:
    model = recipe.model_from_flags(
        source="a",
        name="m",
        settings=["max_model_len=8"],
        adapters=["fr=./x=y"],
        trust_remote_code=True,
    )
    assert model.engine == {"max_model_len": 8}
    assert model.adapters == {"fr": "./x=y"}
    assert model.trust_remote_code


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"source": ""}, "no SOURCE"),
        ({"source": "a", "name": "a/b"}, "cannot be a model name"),
        ({"source": "a", "dtype": "int3"}, "--dtype 'int3'"),
        ({"source": "a", "weights": "link"}, "--weights 'link'"),
        ({"source": "a", "adapters": ["fr"]}, "NAME=DIRECTORY"),
        ({"source": "a", "adapters": ["fr=a", "fr=b"]}, "given twice"),
    ],
)
def test_wrong_flags(flags: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        recipe.model_from_flags(**flags)  # type: ignore[arg-type]


LLM = {"adapters": {"a": "b"}, "metrics": False, "health_check": False, "engine_dir": "e"}


def test_keys_of_an_llm_have_a_section_and_are_read_where_they_stood_before() -> None:
    section = recipe.parse(f"models: [{{source: x, llm: {json.dumps(LLM)}}}]")
    older = recipe.parse(f"models: [{json.dumps({'source': 'x', **LLM})}]")
    mixed = recipe.parse("models: [{source: x, llm: {metrics: false}, health_check: false}]")
    assert section == older
    (model,) = section.models
    assert (model.adapters, model.metrics, model.engine_dir) == ({"a": "b"}, False, "e")
    assert (mixed.models[0].metrics, mixed.models[0].health_check) == (False, False)
    assert recipe.ModelRecipe(source="x", **LLM) == model


@pytest.mark.parametrize(
    ("model", "line", "said"),
    [
        ("llm: {metrics: 5}", 3, "'models[0].llm.metrics' must be a valid boolean, not number 5"),
        ("llm: 5", 3, "'models[0].llm' must be"),
        ("llm: {metrics: true}\n  metrics: true", 2, "'metrics' is set twice: keep the one"),
        ("llm: {metric: true}", 3, "unknown key 'models[0].llm.metric': did you mean 'metrics'?"),
        ("metrik: true", 3, "unknown key 'models[0].metrik': did you mean 'llm.metrics'?"),
        ("llm: {metrics: true}\n  health_check: 5", 4, "'models[0].health_check' must be"),
        ("llm: {adapters: {../x: b}}", 3, "cannot be a model name"),
    ],
)
def test_mistakes_in_the_section_of_an_llm(model: str, line: int, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe.parse(f"models:\n- source: a\n  {model}\n")
    assert said in caught.value.what
    assert caught.value.where == f"trtbuild.yaml:{line}"


def test_the_schema_knows_both_places() -> None:
    properties = recipe.json_schema()["$defs"]["ModelRecipe"]["properties"]
    assert properties["metrics"]["deprecated"] is True
    assert "deprecated" not in properties["llm"]
    for document in ({"source": "x", "llm": LLM}, {"source": "x", **LLM}):
        jsonschema.validate({"models": [document]}, recipe.json_schema())
