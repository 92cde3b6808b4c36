"""``trtbuild audit``: whether an audit log is what the gateway wrote."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, cast

import typer

from trtbuild.cli.values import Program

if TYPE_CHECKING:
    from trtbuild.progress import Progress
    from trtbuild_gateway.access.chain import Link

_STEP = 10_000  # lines between two steps of the progress
_VERIFY = """
Examples

  trtbuild audit verify audit.jsonl

  trtbuild audit verify audit.jsonl* --key-file audit.key

  trtbuild audit verify audit.jsonl --key-file audit.key --expect 9c0f… --json
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    group = Program(help="Check the gateway's audit log.", no_args_is_help=True)
    group.callback()(_group)
    group.command("verify", epilog=_VERIFY)(verify)
    app.add_typer(group, name="audit")


def _group() -> None:
    """Check the gateway's audit log."""


def verify(
    files: Annotated[
        list[Path],
        typer.Argument(help="The audit log; after a rotation its files, in any order, also .gz."),
    ],
    *,
    key_file: Annotated[
        Path | None, typer.Option(help="The key file that the log was written with, if any.")
    ] = None,
    expect: Annotated[
        str, typer.Option(help="A hash noted earlier: if the log lacks it, the end was cut.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check that no line of an audit log was changed, removed, added or moved."""
    from trtbuild.cli.output import print_json, progress
    from trtbuild.errors import QualityError
    from trtbuild_gateway.access.audit_file import read_key

    key = read_key(key_file) if key_file else b""
    with progress() as bars:
        found = _Verified(key, expect.lower(), bars)
        for file in sorted(files, key=_number):
            found.take(file)
    shown = ", ".join(map(str, files))
    if not found.seen:
        raise QualityError(
            f"{shown} has no line with the hash {expect}: its end was cut off, or it is another "
            "log",
            fix="compare it with a copy",
        )
    begins = "" if found.first == 1 else f" from number {found.first:,} on"
    if as_json:
        print_json(
            {
                "files": [str(file) for file in files],
                "first": found.first,
                "lines": found.lines,
                "hash": found.hash,
                "keyed": bool(key),
            }
        )
    else:
        typer.echo(
            f"{shown}: {found.lines:,} lines{begins}, all as written; the last has the hash "
            f"{found.hash}"
        )


class _Verified:
    """What the files have said so far."""

    def __init__(self, key: bytes, expect: str, bars: Progress) -> None:
        self.seen = not expect
        self.lines, self.first = 0, 1
        self._key = key
        self._expect = expect
        self._bars = bars
        self._end: Link | None = None

    @property
    def hash(self) -> str:
        """Of the last line."""
        from trtbuild_gateway.access.chain import START

        return START if self._end is None else self._end.hash

    def take(self, file: Path) -> None:
        """Check a file that follows those before.

        Raises:
            UsageError: It cannot be read.
            QualityError: It is not what was written.
        """
        from trtbuild.errors import QualityError
        from trtbuild_gateway.access.chain import ChainError, walk

        self._bars.step(f"checking {file}")
        try:
            with _opened(file) as (lines, raw):
                size = file.stat().st_size
                for link in walk(lines, self._key, self._end):
                    if self._end is None:
                        self.first = link.seq
                    self._end = link
                    self.lines += 1
                    self.seen = self.seen or link.hash == self._expect
                    if self.lines % _STEP == 0:
                        self._bars.advance(raw.tell(), size)
        except ChainError as error:
            raise QualityError(
                f"{file} is not what was written: {error}",
                fix="compare it with a copy; the lines before that one are right",
            ) from None


@contextmanager
def _opened(file: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Open a file, and what is read of it; UsageError if it cannot be read."""
    import gzip
    import zlib

    from trtbuild.errors import UsageError

    try:
        with file.open("rb") as raw:
            if file.suffix == ".gz":
                with gzip.open(raw) as lines:
                    yield cast(BinaryIO, lines), raw
            else:
                yield raw, raw
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{file} cannot be read: {why}", fix="name the log") from None


def _number(file: Path) -> int:
    """Return the number of a file's first line, by which files are in order; 0 if it has none."""
    from trtbuild_gateway.access.chain import number_of

    with _opened(file) as (lines, _):
        return number_of(lines.readline())
