"""One stream of text of an answer, without the white space next to markers."""

from __future__ import annotations

from collections.abc import Callable

from trtbuild_gateway.parsing.events import Content, Event, Reasoning

_SPACE = " \t\r\n"


class Channel:
    """Collects text and reports it.

    White space is held back until text follows: in front of a marker it is part of the format.
    """

    def __init__(
        self,
        kind: type[Content] | type[Reasoning],
        report: Callable[[Event], None],
        *,
        trim: bool,
    ) -> None:
        self._kind = kind
        self._report = report
        self._trim = trim
        self._parts: list[str] = []
        self._held: list[str] = []
        self.edge = False  # whether a marker came last

    def add(self, text: str) -> None:
        """Take more text."""
        if self._trim:
            if self.edge:
                text = text.lstrip(_SPACE)
            body = text.rstrip(_SPACE)
            if not body:
                if text:
                    self._held.append(text)
                return
            space = text[len(body) :]
            text = "".join([*self._held, body])
            self._held = [space] if space else []
            self.edge = False
        self._say(text)

    def border(self) -> None:
        """Note a marker: drop the white space in front of it and after it."""
        if self._trim:
            self._held.clear()
            self.edge = True

    def flush(self) -> None:
        """Report what is held back, at the end of the answer."""
        self._say("".join(self._held))
        self._held.clear()

    def _say(self, text: str) -> None:
        if text:
            self._parts.append(text)
            self._report(self._kind(text))

    @property
    def text(self) -> str | None:
        """Everything that was reported."""
        return "".join(self._parts) or None
