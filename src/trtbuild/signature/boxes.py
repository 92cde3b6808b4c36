"""Boxes in the text of an answer: a region's label and where it is, as some families mark them.

DeepSeek-OCR writes ``<|ref|>label<|/ref|><|det|>[[left, top, right, bottom], …]<|/det|>`` with
coordinates from 0 to 999 of the image's width and height (deepseek-ai/DeepSeek-OCR,
run_dpsk_ocr_image.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from trtbuild.modelspec import Vision, VisionTask

_REF_DET = re.compile(
    r"<\|ref\|>(?P<label>.{0,1000}?)<\|/ref\|>\s*<\|det\|>(?P<boxes>[^<]{0,20000})<\|/det\|>",
    re.DOTALL,
)
_FULL = 999


@dataclass(frozen=True, slots=True)
class Box:
    """A labelled region: left, top, right and bottom as shares of the image's size, from 0 to 1."""

    label: str
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class MarkedText:
    """An answer without its marks, and the boxes in the order of the text."""

    text: str
    boxes: tuple[Box, ...] = ()


def read_boxes(text: str, vision: Vision, task: VisionTask | None = None) -> MarkedText:
    """Separate the boxes of an answer from its text.

    A label that is the text of its region stays in the text; one that names the kind of a region
    (``title``, ``table``) does not. Marks that are cut off or damaged stay as they are.
    """
    text = text.removesuffix(vision.end) if vision.end else text
    if vision.boxes != "ref-det":
        return MarkedText(text)
    boxes: list[Box] = []

    def unmark(match: re.Match[str]) -> str:
        found = list(_boxes(match["label"], match["boxes"]))
        if not found:
            return match[0]
        boxes.extend(found)
        return "" if task is not None and task.boxes == "kind" else match["label"]

    plain = _REF_DET.sub(unmark, text)
    if task is not None and task.boxes == "kind":
        plain = re.sub(r"^\n+", "", re.sub(r"\n{3,}", "\n\n", plain))
    return MarkedText(plain, tuple(boxes))


def _boxes(label: str, listed: str) -> Iterator[Box]:
    """Read a list of boxes; nothing if any of them is not four numbers."""
    try:
        rows = json.loads(listed)
        corners = [[float(value) / _FULL for value in row] for row in rows]
    except (ValueError, TypeError, RecursionError, OverflowError):
        return
    if all(len(row) == 4 and all(0 <= value <= 1.01 for value in row) for row in corners):
        for row in corners:
            yield Box(label, *(round(min(value, 1.0), 4) for value in row))
