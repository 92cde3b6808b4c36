"""What convert prints of the directories that it wrote."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from rich.console import Console

from trtbuild.cli.convert_view import _tree
from trtbuild.lockfile import LockedFile


def test_a_deep_directory_is_listed_by_its_largest_files() -> None:
    sizes = {f"m/1/site/package/part{number}/code.py": number for number in range(1, 9)}
    sizes["m/config.pbtxt"] = 600
    files = {path: LockedFile("0" * 64, size) for path, size in sizes.items()}
    result: Any = SimpleNamespace(files=files, entries=())
    console = Console(width=80)
    with console.capture() as capture:
        console.print(_tree(result, "m"))
    lines = [line.strip("│├└─ ") for line in capture.get().splitlines()]
    assert lines == [
        "m/",
        "config.pbtxt  600 B",
        "1/",
        "site/",
        *(f"package/part{number}/code.py  {number} B" for number in (8, 7, 6, 5, 4)),
        "and 3 more  6 B",
    ]
