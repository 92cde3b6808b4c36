"""Positions of fields in config.pbtxt and of keys in JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.lanes import rounds
from trtbuild import pbtxt
from trtbuild.located.jsontext import read_json
from trtbuild.located.positions import NOWHERE, Position, Positions

TEXT = """\
# name: "not this one" {
name: "m"
input [
  { name: "a" data_type: TYPE_FP32 dims: [ 1, -1 ] },
  {
    name: 'b'  # a comment }
    dims: 3 dims: 4;
    reshape < shape: [12] >
  }
]
input { name: "c" "d" }
parameters { key: "k" value { string_value: "}\\"{" } }
max_batch_size: 8
"""


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        (("name",), 2, 7),
        (("input", 0, "name"), 4, 11),
        (("input", 0, "dims", 1), 4, 47),
        (("input", 1, "name"), 6, 11),
        (("input", 1, "dims", 0), 7, 11),
        (("input", 1, "dims", 1), 7, 19),
        (("input", 1, "reshape", 0, "shape", 0), 8, 23),
        (("input", 2, "name"), 11, 15),
        (("parameters", 0, "value", 0, "string_value"), 12, 45),
        (("max_batch_size",), 13, 17),
    ],
)
def test_a_value_is_found(path: tuple[str | int, ...], line: int, column: int) -> None:
    found = Positions(TEXT).of(*path)
    assert (found.line, found.column) == (line, column)


def test_the_name_of_a_field_is_found_too() -> None:
    found = Positions(TEXT).of("input", 1, "reshape", name=True)
    assert (found.line, found.column, found.width) == (8, 5, 7)


def test_a_field_that_is_not_written_is_at_its_parent() -> None:
    positions = Positions(TEXT)
    assert positions.of("input", 0, "format") == positions.of("input", 0)
    assert positions.of("output", 0, "name") == NOWHERE
    assert positions.has("max_batch_size")
    assert not positions.has("output")
    assert not positions.has("input", 5)


def test_nested_lists_of_messages() -> None:
    text = 'ensemble_scheduling { step [ { model_name: "x" }, { model_name: "y" } ] } name: "z"'
    positions = Positions(text)
    assert positions.of("ensemble_scheduling", "step", 1, "model_name").column == 65
    assert positions.of("name").column == 81


@pytest.mark.long
@given(st.text(max_size=200))
@settings(max_examples=rounds(60, 3000), deadline=None)
def test_the_scanner_takes_any_text(text: str) -> None:
    Positions(text)


@pytest.mark.long
@given(st.text(alphabet="ab:{}<>[],;\"\\'# \n1-", max_size=80))
@settings(max_examples=rounds(100, 5000), deadline=None)
def test_the_scanner_takes_any_soup_of_punctuation(text: str) -> None:
    Positions(text)


def test_deep_nesting_is_no_recursion() -> None:
    Positions("a {" * 20_000)


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=8)


@pytest.mark.long
@given(st.lists(st.tuples(NAMES, st.lists(st.integers(1, 9), max_size=3)), max_size=4))
@settings(max_examples=rounds(20, 1000), deadline=None)
def test_every_value_of_a_printed_config_is_where_it_says(
    tensors: list[tuple[str, list[int]]],
) -> None:
    config = pbtxt.model_config(
        name="m", input=[{"name": name, "dims": dims} for name, dims in tensors]
    )
    text = pbtxt.render(config)
    lines = text.split("\n")
    positions = Positions(text)
    for number, (_, dims) in enumerate(tensors):
        at = positions.of("input", number, "name")
        assert lines[at.line - 1][at.column - 1] == '"'
        for index, size in enumerate(dims):
            at = positions.of("input", number, "dims", index)
            assert lines[at.line - 1][at.column - 1 :] == str(size)


def test_json_keys_are_found() -> None:
    found = read_json(b'{\n  "a": {"b": 1},\n  "c": ["d", "e:"], "a": 2\n}')
    assert found.value == {"a": 2, "c": ["d", "e:"]}
    assert found.of("c") == Position(3, 3, 3)
    assert found.of("b") == NOWHERE
    assert [(key, at.line, at.column) for key, at in found.repeated] == [("a", 3, 21)]


@pytest.mark.parametrize(
    ("content", "line", "column", "why"),
    [
        (b'{"a": 1,\n}', 2, 1, "double quotes"),
        (b'{\n"a": \xff}', 2, 6, "UTF-8"),
        (b"[" * 100_000, 1, 1, "nested"),
        (b"", 1, 1, "Expecting value"),
        (b"9" * 5000, 1, 1, "digits"),
    ],
)
def test_what_is_no_json_is_told_with_its_place(
    content: bytes, line: int, column: int, why: str
) -> None:
    found = read_json(content)
    assert why in found.problem
    assert (found.at.line, found.at.column) == (line, column)


@pytest.mark.long
@given(st.binary(max_size=100))
@settings(max_examples=rounds(60, 3000), deadline=None)
def test_any_bytes_are_json_or_a_problem(content: bytes) -> None:
    found = read_json(content)
    assert found.problem or found.value == json.loads(content)
