"""Progress as a small protocol, so that the library never prints.

Functions that take long accept a :class:`Progress`; the command line passes one that draws
bars on standard error, tests and library users pass :data:`SILENT`.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives what a long task is doing."""

    def step(self, text: str) -> None:
        """A new phase begins, such as ``hashing weights``."""

    def advance(self, done: int, total: int, unit: str = "B") -> None:
        """``done`` of ``total`` units of the current phase are finished (``total`` 0: unknown)."""


class _Silent:
    def step(self, text: str) -> None: ...

    def advance(self, done: int, total: int, unit: str = "B") -> None: ...


SILENT: Progress = _Silent()


def counted(count: int, what: str) -> str:
    """``1 model``, ``2 models``."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
