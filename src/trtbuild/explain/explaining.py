"""From a log to the reasons, the root first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from trtbuild.explain import places
from trtbuild.explain.causes import Cause, causes, filled, url
from trtbuild.explain.statements import Statement, statements
from trtbuild.server import logs

_LONGEST = 400
_FRAMES = re.compile(r"\s*(?:\sAt:\s+[/<]|\n?\b1\s+0x[0-9a-f]{6,}).*", re.DOTALL)
_HEAD = re.compile(
    r"^(?:failed to load '[^']*'(?: version \d+)?: |Poll failed for model directory '[^']*': )?"
    r"(?:(?:Internal|Invalid argument|Not found|Unavailable|Unsupported): )?"
)
_TRACEBACK = "Traceback (most recent call last)"
_UNKNOWN = Cause("unknown", "the model was refused, for a reason not known here", (), "")


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something failed.

    Attributes:
        cause: Its row in the table of causes; ``unknown`` if it has none.
        title: What is wrong, in our words.
        message: The sentence of the log.
        log_line: Where that stands, from 1.
        model: The model meant, empty if the log does not say.
        rule: The rule of the validator that finds it, empty if none does.
        file: Where the mend goes, relative to the repository; empty if unknown.
        line, column: From 1; 0 if the file as a whole is meant.
        fix: What to do.
        known_as: Addresses of issues that report the same.
    """

    cause: str
    title: str
    message: str
    log_line: int
    model: str = ""
    rule: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    fix: str = ""
    known_as: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """``FILE:LINE:COLUMN``, as far as known."""
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a log tells.

    Attributes:
        reasons: The root causes, in the order in which they happened.
        hints: What is no failure but worth knowing beside one.
        follows: Statements that are only consequences.
    """

    reasons: tuple[Reason, ...] = ()
    hints: tuple[Reason, ...] = ()
    follows: tuple[Reason, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the log tells of no failure."""
        return not self.reasons and not self.follows


def explain(lines: Iterable[str], repository: Path | None = None) -> Explanation:
    """Explain the log of Triton, TensorRT-LLM or vLLM.

    Args:
        lines: Of the log.
        repository: What was served; it is validated, and places in it are named.
    """
    lines = list(lines)
    found: dict[str, list[Reason]] = {"cause": [], "cascade": [], "hint": []}
    unknown: list[Statement] = []
    for statement in statements(lines):
        row = _known(statement)
        if row is not None:
            _add(found[row[0].kind], _reason(statement, *row))
        elif statement.final:
            unknown.append(statement)
    reasons = found["cause"]
    explained = {reason.model for reason in reasons}
    for statement in unknown:
        if statement.model not in explained:
            _add(reasons, _reason(statement, _UNKNOWN, {}))
    raised = bool(found["cascade"]) or any(_TRACEBACK in line for line in lines)
    if not reasons and raised and (cause := logs.root_exception(lines)):
        # An exception that no row knows, which the cascade points to.
        reasons.append(Reason("unknown", cause.partition(":")[0], cause, _line_of(cause, lines)))
    reasons.sort(key=lambda reason: reason.log_line)
    hints = found["hint"] if reasons or found["cascade"] else []
    if repository is not None:
        reasons, hints = places.find(repository, reasons, hints)
    return Explanation(tuple(reasons), tuple(hints), tuple(found["cascade"]))


@cache
def _hints() -> tuple[Cause, ...]:
    return tuple(cause for cause in causes() if cause.kind == "hint")


def _known(statement: Statement) -> tuple[Cause, dict[str, str]] | None:
    # Most lines of a log are no failures, and can only be hints.
    for cause in causes() if statement.loud else _hints():
        groups = cause.match(statement.text)
        if groups is not None:
            return cause, groups
    return None


def _reason(statement: Statement, cause: Cause, groups: dict[str, str]) -> Reason:
    return Reason(
        cause=cause.id,
        title=filled(cause.title, groups),
        message=_shown(statement.text),
        log_line=statement.line,
        model=statement.model or groups.get("model", ""),
        rule=cause.rule,
        fix=filled(cause.fix, groups) or "mend what the message says",
        known_as=tuple(map(url, cause.known_as)),
    )


def _add(reasons: list[Reason], new: Reason) -> None:
    """Add what is not said yet; of the same said twice, keep where it began and whom it hit.

    The last telling is the shortest way to the point: a traceback's exception line comes after
    its source lines, the server's word on the model after both.
    """
    for number, old in enumerate(reasons):
        if old.cause == new.cause and ("" in (old.model, new.model) or old.model == new.model):
            model = new.model or old.model
            reasons[number] = replace(new, log_line=old.log_line, model=model)
            return
    reasons.append(new)


def _shown(text: str) -> str:
    """A statement in one line, without native stack frames."""
    said = " ".join(_HEAD.sub("", _FRAMES.sub("", text)).split())
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"


def _line_of(cause: str, lines: Sequence[str]) -> int:
    return next((number for number, line in enumerate(lines, 1) if cause in line), 0)
