"""``--set`` and the check against what a release's engine accepts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtbuild.errors import RecipeError
from trtbuild.recipe import engine_problems, merge_settings, parse_settings
from trtbuild.toolchain import engine_arguments

ARGUMENTS = engine_arguments("0.32.0")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1", 1),
        ("a=-1", -1),
        ("a=0.5", 0.5),
        ("a=1e-5", 1e-5),
        ("a=true", True),
        ("a=off", False),
        ("a=null", None),
        ("a=", ""),
        ("a=text", "text"),
        ('a="8"', "8"),
        ("a=x=y", "x=y"),
        ("a=2024-01-01", "2024-01-01"),
        ("a=[1, two]", [1, "two"]),
        ('a={"b": [true]}', {"b": [True]}),
        ("a={b: c}", {"b": "c"}),
        ("a=0,9", "0,9"),
    ],
)
def test_values(text: str, value: Any) -> None:
    found = parse_settings([text])["a"]
    assert found == value
    assert type(found) is type(value)


def test_dots_nest_and_the_last_counts() -> None:
    given_settings = ["a.b=1", "a.c=2", "a.b=3", 'd={"e": 1}', "d.f=2"]
    assert parse_settings(given_settings) == {"a": {"b": 3, "c": 2}, "d": {"e": 1, "f": 2}}


def test_every_wrong_setting_is_named() -> None:
    with pytest.raises(RecipeError) as caught:
        parse_settings(["a", "=1", "a..b=1", "x=[", "y=1", "y.z=2"])
    assert caught.value.exit_code == 3
    assert caught.value.what == "5 settings are wrong"
    said = "\n".join(caught.value.details)
    for part in ("--set 'a' ", "--set '=1' ", "--set 'a..b=1' ", "--set 'x=['", "--set 'y.z=2'"):
        assert part in said


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.booleans()))
def test_what_is_written_is_read(settings: dict[str, bool]) -> None:
    assert parse_settings(f"{k}={str(v).lower()}" for k, v in settings.items()) == settings


def test_merging_goes_into_objects_and_replaces_the_rest() -> None:
    base = {"a": {"x": 1, "y": 2}, "b": [1], "c": 1}
    assert merge_settings(base, {"a": {"y": 3}, "b": [2], "d": 4}) == {
        "a": {"x": 1, "y": 3}, "b": [2], "c": 1, "d": 4,
    }  # fmt: skip
    assert base["a"] == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    "settings",
    [
        {"max_model_len": 4096},
        {"max_model_len": None},
        {"gpu_memory_utilization": 1},
        {"gpu_memory_utilization": 0.5},
        {"dtype": "half"},
        {"hf_token": True},
        {"hf_token": "x"},
        {"served_model_name": ["a"]},
        {"compilation_config": {"mode": 3}},
        {"max_lora_rank": 64},
        {},
    ],
)
def test_right_settings(settings: dict[str, Any]) -> None:
    assert engine_problems(settings, ARGUMENTS) == ()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("max_model_length", 1, "did you mean 'max_model_len'"),
        ("--tensor-parallel-size", 2, "did you mean 'tensor_parallel_size'"),
        ("zzzzzz", 1, "there is no engine argument 'zzzzzz'"),
        ("max_model_len", "4096", 'must be a whole number of at least -1 or null, not "4096"'),
        ("max_model_len", 1.5, "must be a whole number"),
        ("max_model_len", True, "must be a whole number"),
        ("enforce_eager", 1, "must be true or false, not 1"),
        ("enforce_eager", None, "must be true or false, not null"),
        ("gpu_memory_utilization", "0,9", 'must be a number above 0 and of at most 1, not "0,9"'),
        ("dtype", "bf16", 'must be one of "auto", "bfloat16"'),
        ("max_lora_rank", 17, "must be one of 1, 8, 16"),
        ("compilation_config", [], "must be an object, not []"),
        ("kv_cache_dtype_skip_layers", "a", "must be a list"),
    ],
)
def test_wrong_settings(name: str, value: Any, said: str) -> None:
    (problem,) = engine_problems({name: value}, ARGUMENTS)
    assert said in problem


def test_a_long_value_is_shortened() -> None:
    (problem,) = engine_problems({"max_model_len": "x" * 500}, ARGUMENTS)
    assert len(problem) < 150
