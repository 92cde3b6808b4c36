"""What a log says, as values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something failed.

    Attributes:
        cause: Its row in the table of causes, or the rule whose sentence it is; ``unknown`` if
            it has neither.
        title: What is wrong, in our words.
        message: The sentence of the log.
        log_line: Where that stands, from 1.
        model: The model meant, empty if the log does not say.
        rule: The rule of the validator that finds it, empty if none does.
        file: Where the fix goes, relative to the repository; empty if unknown.
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
    """What a log says.

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
        """Whether the log reports no failure."""
        return not self.reasons and not self.follows
