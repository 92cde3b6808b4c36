"""The files of a benchmark: the result as JSON, and the report."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from trtbuild.errors import UsageError
from trtbuild.files import atomic_write
from trtbuild_measure.bench.model import Json


def require_writable(option: str, path: Path | None) -> None:
    """Check before a long run that its result can be written.

    Raises:
        UsageError: No such directory, no permission to write in it, or the path is a directory.
    """
    if path is None:
        return
    directory = path.absolute().parent
    if not directory.is_dir():
        raise UsageError(
            f"the directory {directory} does not exist",
            where=f"{option} {path}",
            fix="create it first",
        )
    if path.is_dir():
        raise UsageError(f"{path} is a directory", where=option, fix="name a file in it")
    if not os.access(directory, os.W_OK):
        raise UsageError(
            f"the directory {directory} is not writable",
            where=f"{option} {path}",
            fix="name another",
        )


def keeper(out: Path | None) -> Callable[[Json], None]:
    """Return a function that writes the partial result to ``out``, in case the run is killed. A
    full disk is reported at the end, not in between."""

    def keep(result: Json) -> None:
        if out is not None:
            with contextlib.suppress(OSError):
                _write_json(out, result)

    return keep


def write_files(result: Json, out: Path | None, html: Path | None) -> dict[Path, str]:
    """Write the files; return an error for each that failed, so the result can be shown."""
    from trtbuild_measure.bench.report import render

    found: dict[Path, str] = {}
    for path, is_page in ((out, False), (html, True)):
        if path is None:
            continue
        try:
            if is_page:
                atomic_write(path, render(result).encode())
            else:
                _write_json(path, result)
        except OSError as error:
            found[path] = error.strerror or str(error)
        except Exception as error:  # a report that cannot be drawn must not lose the figures
            found[path] = f"{type(error).__name__}: {error}"
    return found


def _write_json(out: Path, result: Json) -> None:
    atomic_write(out, (json.dumps(result, ensure_ascii=False, indent=1) + "\n").encode())
