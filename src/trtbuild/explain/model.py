"""The result of an explanation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something failed.

    Attributes:
        cause: Its row in the table of causes, or the rule with this message; ``unknown`` if
            there is neither.
        title: What is wrong, as we describe it.
        message: The message in the log.
        log_line: The line of the message, from 1.
        model: The affected model, empty if the log does not name it.
        rule: The rule of the validator that finds it, empty if none does.
        file: The file to fix, relative to the repository; empty if unknown.
        line, column: From 1; 0 for the whole file.
        fix: What to do.
        known_as: URLs of issues that report the same.
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
    """The explanation of a log.

    Attributes:
        reasons: The root causes, in the order in which they happened.
        hints: Statements that are not failures but help to understand one.
        follows: Statements that are only consequences.
    """

    reasons: tuple[Reason, ...] = ()
    hints: tuple[Reason, ...] = ()
    follows: tuple[Reason, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the log reports no failure."""
        return not self.reasons and not self.follows
