"""Boxes in the answers of models that mark them in their text, such as DeepSeek-OCR."""

from __future__ import annotations

from trtbuild.modelspec import Vision
from trtbuild.signature.boxes import read_boxes
from trtbuild_gateway.parsing.events import Boxes, Content, Ended, Event, Message


class BoxParser:
    """Passes the text on with its marks, and lists the boxes when it has ended.

    Args:
        vision: How the model marks boxes.
    """

    def __init__(self, vision: Vision) -> None:
        self._vision = vision
        self._parts: list[str] = []

    def feed(self, text: str) -> list[Event]:
        """Return the text as it is."""
        self._parts.append(text)
        return [Content(text)]

    def finish(self, reason: str = "stop") -> Ended:
        """Return the boxes; one whose mark is cut off or damaged is not among them."""
        text = "".join(self._parts)
        found = read_boxes(text, self._vision).boxes
        return Ended([Boxes(found)], Message(text, None, (), reason, found))
