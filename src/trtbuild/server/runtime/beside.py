"""Packages beside the embedded runtime: installed when a repository needs them.

A new pin in the runtime itself would make everybody install all of it again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from trtbuild.files import disk_trouble, exclusive, staged_dir
from trtbuild.progress import Progress
from trtbuild.resources import cache_dir
from trtbuild.server.runtime import pip
from trtbuild.server.runtime.facts import Runtime

_DONE = "trtbuild.json"


def home_of(runtime: Runtime, package: str, version: str) -> Path:
    """Return the directory of a package's version for the runtime's Python."""
    return cache_dir("runtime", f"{package}-{version}-{runtime.interpreter.tag}")


def ensure_beside(
    runtime: Runtime,
    package: str,
    version: str,
    progress: Progress,
    finish: Callable[[Path], None] = lambda _: None,
) -> Path:
    """Return the directory to import the package from, which is installed first if missing.

    ``finish`` changes the new directory before anybody sees it.

    Raises:
        BuildError: It could not be installed.
    """
    home = home_of(runtime, package, version)
    if (home / _DONE).is_file():
        return home
    with disk_trouble(home.parent):
        home.parent.mkdir(parents=True, exist_ok=True)

    def waiting() -> None:
        progress.step(f"waiting for another trtbuild that is installing {package}")

    with exclusive(home.parent, waiting=waiting):
        if (home / _DONE).is_file():
            return home
        progress.step(f"installing {package} {version}")
        with disk_trouble(home), staged_dir(home) as new:
            arguments = ["--target", str(new), "--only-binary", ":all:", f"{package}=={version}"]
            log = home.with_name(f"{home.name}.log")
            pip.install(runtime.python, arguments, total=1, log_path=log, progress=progress)
            finish(new)
            (new / _DONE).write_text(json.dumps({"version": version}), encoding="utf-8")
    return home
