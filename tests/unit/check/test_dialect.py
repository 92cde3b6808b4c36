"""The server's dialect of protobuf text; tests/corpus/text.toml has what the server decided."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.cases import corpus
from trtbuild import pbtxt
from trtbuild.check.dialect import for_python
from trtbuild.pbtxt import PbtxtError


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("max_batch_size: 8 # é - x", "max_batch_size: 8 # é - x"),
        ("max_batch_size: - 8", "max_batch_size:  -8"),
        ("max_batch_size: 0x1F", "max_batch_size: 31  "),
        ("max_batch_size: 010", "max_batch_size: 8  "),
        ("minimum_slot_utilization: 010", "minimum_slot_utilization: 010"),
        (r'name: "\?"', 'name: "?"'),
        (r'name: "\777"', r'name: "\ufffd"'),
        (r'name: "\303\251 \\777"', r'name: "\303\251 \\777"'),
    ],
)
def test_what_python_would_misread_is_rewritten(text: str, means: str) -> None:
    assert for_python(text) == means


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("name: \n \u00a0", 2, 2, "U+00A0 NO-BREAK SPACE cannot stand here"),
        ("a: +1", 1, 4, "'+' cannot stand here"),
        ("a: 1_0", 1, 5, "a blank is missing between a number and a word"),
        ('a: "x\\q"', 1, 6, "there is no escape '\\\\q'"),
        ('a: "x\0"', 1, 6, "a null byte cannot stand here"),
    ],
)
def test_what_the_server_refuses_is_refused_at_its_place(
    text: str, line: int, column: int, message: str
) -> None:
    with pytest.raises(PbtxtError) as caught:
        for_python(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert caught.value.message == message


@given(st.text(alphabet=st.sampled_from(list("ab01xX_+-.'\"\\ \n#{}[]<>:é\u00a0\0ud7f9"))))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read = for_python(text)
    except PbtxtError as error:
        assert error.line >= 1
    else:
        assert read.count("\n") == text.count("\n")


def test_sound_files_are_left_alone() -> None:
    texts = [
        text for path, case in corpus() if path.stem != "text" for text in case.configs.values()
    ]
    changed = [text for text in texts if for_python(text) != text]
    assert len(texts) > 400
    assert len(changed) < len(texts) / 100
    assert all(pbtxt.parse(for_python(text)) is not None for text in changed)


@pytest.mark.slow
def test_a_megabyte_of_signs_takes_no_time() -> None:
    start = time.process_time()
    for_python("- " * 500_000 + "#é")
    assert time.process_time() - start < 10
