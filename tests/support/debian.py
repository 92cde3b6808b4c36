"""Programs of Debian's packages: from the PATH, or downloaded once into the cache."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from trtbuild.resources import cache_dir

LIBRARIES = "usr/lib/x86_64-linux-gnu"


def program(name: str, *packages: str) -> Path:
    """The program; ``packages`` are the one that has it and those with its libraries."""
    if found := shutil.which(name):
        return Path(found)
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        pytest.skip(f"{name} is not on the PATH, and there is no apt-get to download it")
    root = cache_dir("test-tools", "debian", packages[0])
    if not root.exists():
        root.parent.mkdir(parents=True, exist_ok=True)
        # Each worker of the tests in a directory of its own: the first one's stays.
        with TemporaryDirectory(dir=root.parent) as folder:
            command = ["apt-get", "download", "-q", *packages]
            subprocess.run(command, cwd=folder, check=True)
            for archive in Path(folder).glob("*.deb"):
                subprocess.run(["dpkg", "-x", archive, f"{folder}/root"], check=True)
            if not root.exists():
                (Path(folder) / "root").replace(root)
    return root / "usr/bin" / name


def environment(program: Path) -> dict[str, str]:
    """The environment in which a downloaded program finds its libraries."""
    return {**os.environ, "LD_LIBRARY_PATH": str(program.parents[2] / LIBRARIES)}
