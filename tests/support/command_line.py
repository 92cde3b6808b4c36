"""``trtbuild`` called in this process: as the program, without half a second of start-up."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import typer.main

from trtbuild.cli import commands, output
from trtbuild.cli.app import main

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def keep_commands() -> None:
    """Make each command of trtbuild's own once in this process, as a program does, and read the
    options of the program itself once."""
    typer.main.get_params_from_function = cache(typer.main.get_params_from_function)
    make, kept = commands._made, {}

    def made(command: commands.Command, settings: dict[str, Any]) -> Any:
        if command.source or command.problem:  # a plug-in that a test plays
            return make(command, settings)
        if command not in kept:
            kept[command] = make(command, settings)
        return kept[command]

    commands._made = made


def trtbuild(
    *arguments: object,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    encoding: str = "utf-8",
) -> subprocess.CompletedProcess[str]:
    """What ``python -m trtbuild`` would return. Signals, pipes and memory need a real process.

    Output that is not in ``encoding`` comes as ``surrogateescape`` keeps it.
    """
    words = ["trtbuild", *map(str, arguments)]
    stdout, stderr, source = (
        io.TextIOWrapper(io.BytesIO(content), encoding=encoding, write_through=True)
        for content in (b"", b"", stdin)
    )
    code: object = 0
    with (
        mock.patch.multiple(sys, argv=words, stdout=stdout, stderr=stderr, stdin=source),
        mock.patch.dict(os.environ, env or {}, clear=env is not None),
        mock.patch.object(output, "_printed", []),
        contextlib.chdir(cwd or Path.cwd()),
        _handlers_kept(),
    ):
        try:
            main()
        except SystemExit as stop:
            code = stop.code
    returncode = code if isinstance(code, int) else int(code is not None)
    return subprocess.CompletedProcess(words, returncode, _text(stdout), _text(stderr))


@contextlib.contextmanager
def _handlers_kept() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _text(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode(stream.encoding, "surrogateescape")
