"""``# trtbuild: ignore[TRT101]`` in the files of a repository."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from trtbuild.check.context import CONFIG, Model, Repository
from trtbuild.check.engine import REGISTERED
from trtbuild.check.model import Finding, Severity

UNUSED = "TRT190"
_COMMENTED = (".pbtxt", ".py", ".yaml", ".yml")
_COMMENT = re.compile(r"#\s*trtbuild:\s*ignore(?P<model>-model)?\[(?P<codes>[^\]\n]*)\]")


@dataclass(slots=True)
class Comments:
    """The ``# trtbuild: ignore[…]`` comments of one text.

    ``ignore`` at a line's end counts for that line, on a line of its own for the next one that is
    not empty; ``ignore-model`` for the whole model. ``used`` collects those that hid something.
    """

    lines: dict[int, dict[str, int]] = field(default_factory=dict)
    model: dict[str, int] = field(default_factory=dict)
    used: set[tuple[int, str]] = field(default_factory=set)

    def hides(self, rule: str, line: int) -> bool:
        """Whether a finding at a line of this text is hidden."""
        return self._hides(rule, self.lines.get(line, {}))

    def hides_all(self, rule: str) -> bool:
        """Whether a rule's findings about the whole model are hidden."""
        return self._hides(rule, self.model)

    def _hides(self, rule: str, codes: Mapping[str, int]) -> bool:
        for code, written in codes.items():
            if rule.startswith(code):
                self.used.add((written, code))
                return True
        return False

    def all(self) -> list[tuple[int, str]]:
        """Every code with the line that it is written in."""
        every = (*self.lines.values(), self.model)
        return sorted({(line, code) for codes in every for code, line in codes.items()})


def read_comments(text: str) -> Comments:
    """The comments of a text; fast when there are none."""
    comments = Comments()
    if "trtbuild:" not in text:
        return comments
    waiting: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        before = line.partition("#")[0].strip()
        codes: dict[str, int] = {}
        for match in _COMMENT.finditer(line):
            found = {code.strip(): number for code in match["codes"].split(",") if code.strip()}
            (comments.model if match["model"] else codes).update(found)
        if before:
            comments.lines[number] = {**waiting, **codes}
            waiting = {}
        else:
            waiting |= codes
    return comments


def unknown_codes(comments: Comments) -> Iterator[tuple[int, str]]:
    """Line and code of what fits no rule."""
    ids = sorted(REGISTERED)
    for line, code in comments.all():
        if not any(id.startswith(code) for id in ids):
            yield line, code


class Ignoring:
    """Takes away what comments hide, and says which comments hid nothing."""

    def __init__(self, repository: Repository) -> None:
        self._models = {model.name: model for model in repository.models}
        self._read: dict[tuple[str, str], Comments] = {}

    def keep(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        """The findings that no comment hides."""
        for finding in findings:
            model = self._models.get(finding.model)
            if model is None or not self._hidden(model, finding):
                yield finding

    def _hidden(self, model: Model, finding: Finding) -> bool:
        if self._of(model, CONFIG).hides_all(finding.rule):
            return True
        file = finding.file.removeprefix(f"{model.name}/")
        return bool(finding.line) and self._of(model, file).hides(finding.rule, finding.line)

    def _of(self, model: Model, file: str) -> Comments:
        key = (model.name, file)
        if key not in self._read:
            self._read[key] = read_comments(_text(model, file))
        return self._read[key]

    def unused(self) -> Iterator[Finding]:
        """A finding for each code of a ``config.pbtxt`` that hid nothing."""
        for model in self._models.values():
            comments = self._of(model, CONFIG)
            wrong = set(unknown_codes(comments))
            for line, code in comments.all():
                if (line, code) not in comments.used | wrong:
                    place = (model.name, model.file(CONFIG), line, 1)
                    message = f"the comment ignores {code}, and there is no such finding"
                    yield Finding(
                        UNUSED, Severity.INFO, *place, message, "", "take the comment out"
                    )


def _text(model: Model, file: str) -> str:
    if file == CONFIG:
        return model.text or ""
    if not file.endswith(_COMMENTED):
        return ""
    try:
        return model.read(file).decode("utf-8", errors="replace")
    except OSError:
        return ""
