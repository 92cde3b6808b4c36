"""What every command prints the same way: errors, JSON, sizes, progress."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import typer

from trtbuild.errors import TrtbuildError
from trtbuild.jsonlog import VARIABLE, LogFormat, chosen_format, log_line
from trtbuild.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console, OverflowMethod
    from rich.text import Text


_printed: list[bool] = []
"""Not empty once a document went to standard output."""


def json_logs() -> bool:
    """Whether what goes to standard error is JSON, one object a line."""
    return chosen_format() is LogFormat.JSON


def log_as(kind: LogFormat) -> None:
    """Write the rest of this command's log, and those of its children, in that form."""
    os.environ[VARIABLE] = kind.value


def say_json(message: str, level: str = "info", **fields: object) -> None:
    """Write a line of our own log to standard error, as JSON."""
    typer.echo(log_line(level, "trtbuild", message, fields=jsonable(fields)), err=True)


def say(text: str, level: str = "info", mark: str = "") -> None:
    """Write a line to standard error: as JSON, or as text behind a mark such as ``note: ``."""
    if json_logs():
        say_json(text, level)
    else:
        typer.echo(f"{mark}{text}", err=True)


def say_note(text: str) -> None:
    """Write what is worth knowing, but no error, to standard error."""
    say(text, "warning", "note: ")


def console(*, stderr: bool = False) -> Console:
    """A rich console; on a pipe it neither wraps nor colours."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, soft_wrap=not stream.isatty(), highlight=False)


def print_error(error: TrtbuildError, *, as_json: bool = False) -> None:
    """The error on standard error: what, where, why, fix.

    With ``--json`` also on stdout, unless the command has printed its document there: a script
    reads one, and has the exit code beside it.
    """
    if as_json and not _printed:
        typer.echo(json.dumps(error.as_dict(), ensure_ascii=False, indent=2))
    if json_logs():
        say_json(error.what, "error", where=error.where, fix=error.fix, details=error.details)
        return
    from rich.text import Text

    out = console(stderr=True)
    out.print(Text.assemble(("error: ", "bold red"), error.what))
    if error.where:
        out.print(Text.assemble(("   at: ", "dim"), error.where))
    for detail in error.details:
        out.print(Text.assemble(("    - ", "dim"), detail))
    if error.fix:
        out.print(Text.assemble(("  fix: ", "bold green"), error.fix))


def print_json(value: object) -> None:
    """Any dataclass, mapping or list as indented JSON on standard output."""
    _printed.append(True)
    typer.echo(json.dumps(jsonable(value), ensure_ascii=False, indent=2))


def print_table(
    titles: Sequence[str], rows: Iterable[Sequence[str | Text]], overflow: OverflowMethod
) -> None:
    """Columns on standard output; ``overflow`` is what becomes of a word wider than its own."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="dim", pad_edge=False)
    for title in titles:
        table.add_column(title, overflow=overflow)
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    console().print(table)


def json_line(value: object, file: IO[str] | None = None) -> None:
    """Write one line of JSON to ``file``, by default standard output."""
    if file is None:
        _printed.append(True)
    typer.echo(json.dumps(jsonable(value), ensure_ascii=False), file=file)


def jsonable(value: object) -> Any:
    """``value`` in JSON's own types: dataclasses become objects, enums their value."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: jsonable(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    return value


def human_bytes(count: float) -> str:
    """Bytes in binary units, such as ``16.0 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def human_count(count: float) -> str:
    """Parameters the way people say them: ``134.5M``, ``8.03B``."""
    for size, suffix, digits in ((1e12, "T", 2), (1e9, "B", 2), (1e6, "M", 1), (1e3, "K", 1)):
        if count >= size:
            return f"{count / size:.{digits}f}{suffix}"
    return f"{count:.0f}"


_PAUSE = 10.0
"""Seconds between two lines of a phase."""


class Shown(Progress, Protocol):
    """Progress that is being shown."""

    def close(self) -> None:
        """Stop drawing until the next step."""


class _LineProgress:
    """Lines for logs and CI: a line a phase, and one every few seconds within it."""

    def __init__(self) -> None:
        self._last = 0.0
        self._phase = ""

    def step(self, text: str) -> None:
        self._phase, self._last = text, time.monotonic()
        say(text, mark="… ")

    def advance(self, done: int, total: int, unit: str = "B") -> None:
        if time.monotonic() - self._last < _PAUSE:
            return
        self._last = time.monotonic()
        if json_logs():
            say_json(self._phase, done=done, total=total, unit=unit)
            return
        share = f"{100 * done / total:.0f} %" if total else f"{done} {unit}"
        typer.echo(f"… {self._phase}: {share}", err=True)

    def close(self) -> None:
        """Lines need no end."""


@contextmanager
def progress() -> Iterator[Shown]:
    """Progress on standard error: bars on a terminal, lines elsewhere, JSON in a JSON log."""
    if json_logs() or not sys.stderr.isatty():
        yield _LineProgress()
        return
    bars = _BarProgress()
    try:
        yield bars
    finally:
        bars.close()


class _BarProgress:
    """Bars that begin with the first step: what is done at once shows none, and loads no rich."""

    def __init__(self) -> None:
        self._bars: Any = None
        self._task: Any = None

    def step(self, text: str) -> None:
        if self._bars is None:
            self._bars = _bars()
            self._bars.start()
        if self._task is not None:
            self._bars.update(self._task, total=1, completed=1)
        self._task = self._bars.add_task(text, total=None, amount="")

    def close(self) -> None:
        if self._bars is not None:
            self._bars.stop()
        self._bars = self._task = None

    def advance(self, done: int, total: int, unit: str = "B") -> None:
        if self._task is None:
            return
        amount = f"{human_bytes(done)}" if unit == "B" else f"{done} {unit}"
        if total:
            amount += f" / {human_bytes(total) if unit == 'B' else total}"
        self._bars.update(self._task, total=total or None, completed=done, amount=amount)


def _bars() -> Any:
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        TextColumn("{task.fields[amount]}"),
        TimeElapsedColumn(),
        console=console(stderr=True),
    )
