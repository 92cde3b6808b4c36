"""The position of each field of a ``config.pbtxt``, which protobuf's parser does not keep.

The text is scanned again after protobuf accepted it, so the scanner can be lenient: it follows
braces and separators and reports no errors.
Grammar: https://protobuf.dev/reference/protobuf/textformat-spec/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

Path = tuple[str | int, ...]
"""Names of fields, and numbers within repeated ones: ``("input", 0, "dims", 1)``."""


class Position(NamedTuple):
    """A position in a text, both from 1; ``width`` is the length of the token there."""

    line: int = 0
    column: int = 0
    width: int = 1


NOWHERE = Position()


Span = tuple[int, int]
"""Offsets in the text, in characters: begin and end."""


@dataclass(slots=True)
class Node:
    """One occurrence of a field: the positions of its name and value, and its own fields.

    ``written`` is the value's text, from brace to brace if it is a message. ``whole`` includes the
    field's name, which the values of one list share.
    """

    name: Position
    value: Position
    children: dict[str, list[Node]] = field(default_factory=dict)
    text: str = ""
    written: Span = (0, 0)
    whole: Span = (0, 0)

    def add(self, name: str, node: Node) -> None:
        """Append an occurrence of the field ``name``."""
        self.children.setdefault(name, []).append(node)


_TOKEN = re.compile(
    r"""(?P<skip>[\s,;]+|\#[^\n]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<name>[-+]?[\w.]+(?:[-+]\w+)?)
      | (?P<punct>.)""",
    re.VERBOSE | re.DOTALL,
)


class _Token(NamedTuple):
    kind: str
    text: str
    at: Position
    begin: int

    @property
    def end(self) -> int:
        return self.begin + len(self.text)


def _tokens(text: str) -> Iterator[_Token]:
    """Yield tokens, without blanks and comments."""
    line, start = 1, 0
    for match in _TOKEN.finditer(text):
        kind, word, at = match.lastgroup or "", match[0], match.start()
        if kind != "skip":
            yield _Token(kind, word, Position(line, at - start + 1, len(word)), at)
        if "\n" in word:
            line += word.count("\n")
            start = at + word.rindex("\n") + 1


class Positions:
    """The positions of every field of one text."""

    def __init__(self, text: str) -> None:
        self.root = Node(NOWHERE, NOWHERE)
        self._tokens = list(_tokens(text))
        self._at = 0
        while self._at < len(self._tokens):
            before = self._at
            self._fields(self.root)
            self._at += self._at == before  # a stray closing brace

    def of(self, *path: str | int, name: bool = False) -> Position:
        """Return the position of the value at ``path`` (with ``name`` of its field's name).

        If the path is not in the text, return that of the nearest parent.
        """
        node = self._find(path)
        return node.name if name or node.children else node.value

    def has(self, *path: str | int) -> bool:
        """Whether the text has a field at ``path``, even with the default value."""
        return self._find(path, exact=True) is not self.root

    def node(self, *path: str | int) -> Node | None:
        """Return the field at ``path`` if the text has it."""
        found = self._find(path, exact=True)
        return None if found is self.root else found

    def node_at(self, at: Position) -> Node | None:
        """Return the innermost field whose name or value is at a position."""
        waiting, found = [self.root], None
        while waiting:
            for nodes in waiting.pop().children.values():
                for node in nodes:
                    if at in (node.name, node.value):
                        found = node if found is None or at == node.value else found
                    waiting.append(node)
        return found

    def entry(self, *path: str | int, key: str) -> Position:
        """Return the position of the entry with a string key in a map, else of the map."""
        *parents, name = path
        for node in self._find(tuple(parents)).children.get(str(name), ()):
            if any(each.text[1:-1] == key for each in node.children.get("key", ())):
                return node.name
        return self.of(*path, name=True)

    def _find(self, path: Path, *, exact: bool = False) -> Node:
        node, at = self.root, 0
        while at < len(path):
            name = path[at]
            number = path[at + 1] if at + 1 < len(path) else None
            index = number if isinstance(number, int) else 0
            found = node.children.get(str(name), [])
            if index >= len(found):
                return self.root if exact else node
            node = found[index]
            at += 2 if isinstance(number, int) else 1
        return node

    def _peek(self) -> str:
        return self._tokens[self._at].text if self._at < len(self._tokens) else ""

    def _next(self) -> _Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _fields(self, parent: Node) -> None:
        # An explicit stack, because a malicious file may nest a million braces.
        stack = [parent]
        while self._at < len(self._tokens):
            token = self._next()
            if token.text in ("}", ">"):
                closed = stack.pop()
                closed.written = (closed.written[0], token.end)
                closed.whole = (closed.whole[0], token.end)
                if not stack:
                    self._at -= 1
                    return
            elif token.kind == "name":
                opened = self._field(stack[-1], token)
                if opened is not None:
                    stack.append(opened)

    def _field(self, parent: Node, name: _Token) -> Node | None:
        """Read one field; return its node if it is a message whose fields follow."""
        if self._peek() == ":":
            self._next()
        if self._peek() in ("{", "<"):
            brace = self._next()
            node = Node(name.at, brace.at)
            node.written, node.whole = (brace.begin, brace.end), (name.begin, brace.end)
            parent.add(name.text, node)
            return node
        if self._peek() == "[":
            self._list(parent, name)
        elif self._at < len(self._tokens):
            parent.add(name.text, self._scalar(name))
        return None

    def _scalar(self, name: _Token) -> Node:
        value = self._next()
        text, end = value.text, value.end
        while value.kind == "string" and self._at < len(self._tokens):
            if self._tokens[self._at].kind != "string":  # "a" "b" is one value
                break
            value_end = self._next()
            text, end = text + value_end.text, value_end.end
        node = Node(name.at, value.at, text=text)
        node.written, node.whole = (value.begin, end), (name.begin, end)
        return node

    def _list(self, parent: Node, name: _Token) -> None:
        self._next()
        nodes: list[Node] = []
        while self._at < len(self._tokens) and self._peek() != "]":
            if self._peek() in ("{", "<"):
                brace = self._next()
                node = Node(brace.at, brace.at)  # the list's name is shared by all of them
                node.written = (brace.begin, brace.end)
                parent.add(name.text, node)
                self._fields(node)
                if self._at < len(self._tokens):
                    node.written = (brace.begin, self._next().end)
            else:
                node = self._scalar(name)
                parent.add(name.text, node)
            nodes.append(node)
        if self._at < len(self._tokens):
            end = self._next().end
            for node in nodes:
                node.whole = (name.begin, end)
