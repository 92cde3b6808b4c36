"""The quick reader of events reads what the json module reads."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtbuild_measure.bench.targets import jsontext


def outcome(read: Any, text: bytes) -> str:
    """The value as text, which tells -0.0, NaN and True apart, or the kind of the error."""
    try:
        return repr(read(text))
    except (ValueError, RecursionError) as error:
        return type(error).__name__


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(VALUES, st.booleans(), st.sampled_from(["", " ", "\n", "}", "\ufeff"]))
def test_a_value_is_what_the_json_module_reads(value: Any, escaped: bool, around: str) -> None:
    text = f"{around}{json.dumps(value, ensure_ascii=escaped)}{around}"
    for encoding in ("utf-8", "utf-16"):
        content = text.encode(encoding, "surrogatepass")
        assert outcome(jsontext.parse, content) == outcome(json.loads, content)


@pytest.mark.parametrize("text", [b"", b"{", b"[1] 2", b"\xff", b"nan", b'"\\ud83d"', b"[" * 9999])
def test_what_is_no_json_fails_alike(text: bytes) -> None:
    assert outcome(jsontext.parse, text) == outcome(json.loads, text)
