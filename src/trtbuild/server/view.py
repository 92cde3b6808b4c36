"""A view of a repository at another path: links to all files except engine files.

Generated engine files name weights below the containers' mount point. A server that sees the
repository elsewhere gets a view with the real paths; the repository itself is never changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trtbuild import pbtxt
from trtbuild.files import disk_trouble
from trtbuild.server.contents import engine_files, names_mounted_path
from trtbuild.signature import MOUNT


def make_view(repo: Path, view: Path) -> Path:
    """Create and return ``view`` of ``repo``."""
    rewritten = {path: _moved(text, repo) for path, text in engine_files(repo)}
    rewritten |= dict(_moved_configs(repo))
    with disk_trouble(view):
        view.mkdir(parents=True)
        for folder in sorted(path for path in repo.iterdir() if path.is_dir()):
            _mirror(folder, view / folder.name, rewritten, depth=2)
    return view


def _mirror(source: Path, target: Path, rewritten: dict[Path, str], depth: int) -> None:
    """Create real directories down to the version's, in which engine files can be replaced."""
    target.mkdir()
    for path in sorted(source.iterdir()):
        if path in rewritten:
            (target / path.name).write_text(rewritten[path], encoding="utf-8")
        elif path.is_dir() and not path.is_symlink() and depth > 1:
            _mirror(path, target / path.name, rewritten, depth - 1)
        else:
            (target / path.name).symlink_to(path)


def _moved(text: str, repo: Path) -> str:
    """Return engine arguments with paths below the mount point moved to ``repo``."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text  # left to the server to report
    return json.dumps(_replaced(found, repo), indent=2) + "\n"


def _moved_configs(repo: Path) -> Iterator[tuple[Path, str]]:
    """Return configurations with parameters below the mount point replaced by real paths."""
    for path in sorted(repo.glob("*/config.pbtxt")):
        try:
            config = pbtxt.read(path)
        except (OSError, UnicodeDecodeError, pbtxt.PbtxtError):
            continue
        if not names_mounted_path(config):
            continue
        for row in config.parameters.values():
            row.string_value = _replaced(row.string_value, repo)
        yield path, pbtxt.render(config, header=f"A view of {path} with the paths of this machine.")


def _replaced(value: Any, repo: Path) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(item, repo) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, repo) for item in value]
    if isinstance(value, str) and value.startswith(f"{MOUNT}/"):
        return str(repo / value.removeprefix(f"{MOUNT}/"))
    return value
