"""Boxes in answers: read where they are sound, left in the text where they are not."""

from __future__ import annotations

import pytest

from trtbuild.modelspec import Vision, VisionTask
from trtbuild.signature.boxes import Box, read_boxes

OCR = Vision(family="deepseek-ocr", boxes="ref-det", end="</s>")
KIND, TEXT = VisionTask("", "kind"), VisionTask("", "text")


def marked(label: str, boxes: str) -> str:
    return f"<|ref|>{label}<|/ref|><|det|>{boxes}<|/det|>"


def test_boxes_are_shares_of_the_image() -> None:
    found = read_boxes(marked("a cat", "[[0, 333, 999, 666]]") + "</s>", OCR, TEXT)
    assert found.text == "a cat"
    assert found.boxes == (Box("a cat", 0, 0.3333, 1, 0.6667),)


def test_a_kind_is_no_text() -> None:
    found = read_boxes(marked("title", "[[1, 2, 3, 4]]") + "\n# T\n\n\n\nx", OCR, KIND)
    assert found.text == "# T\n\nx"
    assert [box.label for box in found.boxes] == ["title"]


@pytest.mark.parametrize(
    "text",
    [
        marked("a", "[[1, 2, 3]]"),
        marked("a", "[[1, 2, 3, 4], [1]]"),
        marked("a", "[[1, 2, 3, 4000]]"),
        marked("a", '[["x", 1, 2, 3]]'),
        marked("a", "[1, 2, 3, 4]"),
        marked("a", "{}"),
        marked("a", "[[1e999, 0, 0, 0]]"),
        marked("a", "[" * 5000),
        "<|ref|>cut off<|/ref|><|det|>[[1, 2",
        "plain",
    ],
)
def test_damaged_marks_stay_in_the_text(text: str) -> None:
    assert read_boxes(text, OCR, TEXT) == read_boxes(text, Vision(), TEXT)
    assert read_boxes(text, OCR, TEXT).text == text


def test_an_answer_that_repeats_marks_is_left_alone() -> None:
    """The longest answer of this kind must not be read again for every mark."""
    text = "<|ref|>" * 8000 + "<|det|>[[" * 8000
    assert read_boxes(text, OCR, KIND).text == text


def test_other_families_have_no_marks() -> None:
    text = marked("a", "[[1, 2, 3, 4]]")
    assert read_boxes(text, Vision(family="llava")).text == text
