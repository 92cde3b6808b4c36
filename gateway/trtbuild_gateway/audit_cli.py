"""``trtbuild audit``: whether an audit log is what the gateway wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trtbuild.cli.values import Program

_STEP = 10_000  # lines between two steps of the progress
_VERIFY = """
Examples

  trtbuild audit verify audit.jsonl

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
    file: Annotated[Path, typer.Argument(help="The audit log.")],
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
    from trtbuild.errors import QualityError, UsageError
    from trtbuild_gateway.access.audit import read_key
    from trtbuild_gateway.access.chain import ChainError, Link, walk

    key = read_key(key_file) if key_file else b""
    end, seen = Link(), not expect
    try:
        with file.open("rb") as lines, progress() as bars:
            size = file.stat().st_size
            bars.step(f"checking {file}")
            for end in walk(lines, key):
                seen = seen or end.hash == expect.lower()
                if end.seq % _STEP == 0:
                    bars.advance(lines.tell(), size)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}", fix="name the log") from None
    except ChainError as error:
        raise QualityError(
            f"{file} is not what was written: {error}",
            fix="compare it with a copy; the lines before that one are right",
        ) from None
    if not seen:
        raise QualityError(
            f"{file} has no line with the hash {expect}: its end was cut off, or it is another log",
            fix="compare it with a copy",
        )
    if as_json:
        print_json({"file": str(file), "lines": end.seq, "hash": end.hash, "keyed": bool(key)})
    else:
        typer.echo(f"{file}: {end.seq:,} lines, all as written; the last has the hash {end.hash}")
