"""Many answers, in JSON Lines or in lines for people."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import typer

from trtbuild.cli.infer.tasks import rows, shown
from trtbuild.cli.output import json_line
from trtbuild.errors import UsageError

if TYPE_CHECKING:
    from trtbuild.pipeline.items import Item
    from trtbuild.signature.requests import TaskRequest


class Writer:
    """Writes answers in the order of the items.

    Args:
        path: A file for JSON Lines; None for standard output.
        as_json: JSON Lines on standard output.
        kind: As in :func:`trtbuild.cli.infer.tasks.report_task`.

    Raises:
        UsageError: The file cannot be written.
    """

    def __init__(self, path: Path | None, *, as_json: bool, kind: str) -> None:
        self.written = 0
        self._tokens = 0
        self._path = path
        self._json = as_json or path is not None
        self._kind = kind
        self._start = time.perf_counter()
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        if self._path is not None:
            try:
                self._file = self._path.open("w", encoding="utf-8")
            except OSError as error:
                raise UsageError(
                    f"cannot write {self._path}: {error}", fix="name another file with --output"
                ) from None
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(
        self, items: Sequence[Item], request: TaskRequest, answer: Any, more: Mapping[str, Any]
    ) -> None:
        """Write the answer to ``items``; JSON also has ``more``."""
        found = rows(answer, self._kind)
        for item, row, lines in zip(items, found, shown(answer, request), strict=True):
            named = {} if item.id is None else {"id": item.id}
            if self._json:
                json_line({"index": self.written, **named, **row, **more}, self._file)
            else:
                self._print(item, lines)
            self.written += 1
            self._tokens += row.get("tokens") or row.get("output_tokens") or 0

    def _print(self, item: Item, lines: Sequence[str]) -> None:
        name = self.written if item.id is None else item.id
        for number, line in enumerate(lines):
            typer.echo(
                f"[{name}] {line}" if len(lines) == 1 else line if number else f"[{name}]\n{line}"
            )

    def say_end(self) -> None:
        """Print how many there were, and how fast, to standard error."""
        seconds = time.perf_counter() - self._start
        notes = [f"{self.written} answers in {seconds:.1f} s: {self.written / seconds:.1f}/s"]
        notes += [f"{self._tokens / seconds:.0f} tokens/s"] if self._tokens else []
        notes += [str(self._path)] if self._path else []
        typer.secho(" · ".join(notes), err=True, dim=True)
