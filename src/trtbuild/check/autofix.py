"""Safe changes of a ``config.pbtxt``: how a rule says one, how they are applied.

A change is safe when the model means the same afterwards, or could not have been loaded before.
Rules name it in their decorator: ``autofix=Remove()``, ``autofix=Replace("0")``.
"""

from __future__ import annotations

import difflib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trtbuild import pbtxt
from trtbuild.check.context import Model
from trtbuild.check.model import Edit, Finding
from trtbuild.check.reading import is_inside, read_inside
from trtbuild.errors import BuildError
from trtbuild.files import atomic_write
from trtbuild.located.positions import NOWHERE, Position


class Autofix(Protocol):
    """Makes a change from the place of a problem; None when it does not fit there."""

    def __call__(self, model: Model, at: Position) -> Edit | None: ...


@dataclass(frozen=True, slots=True)
class Replace:
    """Another value at the place; ``{model}`` in it is the directory's name."""

    to: str

    def __call__(self, model: Model, at: Position) -> Edit | None:
        """The change, if a single other value stands there."""
        node = model.positions.node_at(at)
        to = self.to.replace("{model}", model.name)
        if node is None or node.text in ("", to):
            return None
        return Edit(*node.written, to)


@dataclass(frozen=True, slots=True)
class Remove:
    """The field at the place taken out, with its whole list, and the line if nothing else is in
    it."""

    def __call__(self, model: Model, at: Position) -> Edit | None:
        """The change, if a field stands there."""
        node = model.positions.node_at(at)
        if node is None:
            return None
        text = model.text or ""
        begin, end = node.whole
        while text[end : end + 1] in (" ", "\t", ",", ";"):
            end += 1
        line = text.rfind("\n", 0, begin) + 1
        alone = not text[line:begin].strip() and text[end : end + 1] in ("\n", "")
        return Edit(line, end + 1, "") if alone else Edit(begin, end, "")


@dataclass(frozen=True, slots=True)
class Insert:
    """A line more, after the model's name (at the beginning when it has none).

    With ``unless_completed`` not for a server that would fill in something else.
    """

    line: str
    unless_completed: bool = False

    def __call__(self, model: Model, at: Position) -> Edit | None:  # noqa: ARG002
        """The change."""
        if self.unless_completed and model.repository.options.auto_complete:
            return None
        text = model.text or ""
        name = model.positions.node("name")
        if name is None:
            return Edit(0, 0, f"{self.line}\n")
        end = text.find("\n", name.whole[1])
        rest = text[name.whole[1] : end if end >= 0 else len(text)].partition("#")[0].strip(" ,;\t")
        if rest or end < 0:  # more fields in the same line
            return Edit(name.whole[1], name.whole[1], f"\n{self.line}\n")
        return Edit(end + 1, end + 1, f"{self.line}\n")


def edit_for(autofixes: Iterable[Autofix], model: Model, at: Position) -> Edit | None:
    """What the first fitting one of ``autofixes`` does; None for a text that is not all UTF-8."""
    if "\ufffd" in (model.text or "") or model.config is None:
        return None
    for autofix in autofixes:
        if at is not NOWHERE or isinstance(autofix, Insert):
            edit = autofix(model, at)
            if edit is not None:
                return edit
    return None


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file before and after."""

    repository: Path
    file: str
    before: str
    after: str
    rules: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The file itself, links followed."""
        return Path(os.path.realpath(self.repository / self.file))

    def diff(self) -> Iterator[str]:
        """The lines of a unified diff."""
        path = (self.repository / self.file).as_posix()
        old, new = self.before.splitlines(), self.after.splitlines()
        yield from difflib.unified_diff(old, new, path, path, lineterm="")


def changes(findings: Iterable[Finding]) -> tuple[FileChange, ...]:
    """One change for each file that has something to fix; nothing is written yet."""
    by_file: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for found in findings:
        if found.edit is not None:
            by_file[found.repository, found.file].append(found)
    made = (_change(Path(root), file, group) for (root, file), group in by_file.items())
    return tuple(change for change in made if change is not None)


def _change(root: Path, file: str, findings: list[Finding]) -> FileChange | None:
    try:
        before = read_inside(root / file, root).decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    after, upto, done = before, len(before) + 1, []
    for found in sorted(findings, key=lambda found: found.edit.begin if found.edit else 0)[::-1]:
        edit = found.edit
        if edit is not None and edit.end <= upto and edit.end <= len(before):
            after = after[: edit.begin] + edit.text + after[edit.end :]
            upto = edit.begin
            done.append(found.rule)
    try:
        pbtxt.parse(after)
    except pbtxt.PbtxtError:
        return None
    return FileChange(root, file, before, after, tuple(sorted(set(done))))


def write(changes: Iterable[FileChange]) -> None:
    """Write the changes. Raises BuildError when a file cannot be written."""
    for change in changes:
        if not is_inside(change.path, change.repository):
            continue
        try:
            mode = change.path.stat().st_mode
            atomic_write(change.path, change.after.encode())
            change.path.chmod(mode & 0o7777)
        except OSError as error:
            raise BuildError(
                f"the file cannot be written: {error.strerror}",
                where=str(change.path),
                fix="make the file writable, or make the change by hand",
            ) from None
