"""Links in a model's directory: those that lead nowhere, and those that lead in a circle.

What the server does: triton-inference-server/core, ``GetDirectorySubdirs`` of the local file system
and ``GetModifiedTime`` in src/model_repository_manager/model_repository_manager.cc. Seen on 2.51.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from trtbuild.check.context import Model
from trtbuild.check.reading import is_inside

_MOUNT = "/models/"  # where a container has the repository
_MOST_LINKS = 40  # in one path, of Linux (path_resolution(7))
_MOST_ENTRIES = 100_000
_ENDLESS = 1_000_000  # entries: half a minute of the server, which holds all other loading up


def leads_nowhere(path: Path, root: Path) -> bool:
    """Whether ``path`` is a link that the server cannot follow. An absolute link into the place
    where containers have the repository counts as if the repository ``root`` were there."""
    if not path.is_symlink():
        return False
    try:
        path.stat()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
            return False
    else:
        return False
    target = str(path.readlink())
    return not (target.startswith(_MOUNT) and (root / target.removeprefix(_MOUNT)).exists())


def broken_beside(model: Model) -> tuple[str, ...]:
    """The links beside the versions of a model that lead nowhere."""
    links = (entry.path for entry in model.tree if entry.kind == "link" and "/" not in entry.path)
    root = model.repository.root
    return tuple(name for name in links if leads_nowhere(model.path / name, root))


@dataclass(frozen=True, slots=True)
class _Directory:
    entries: int
    inner: tuple[str, ...]
    linked: tuple[str, ...]


def is_endless(top: Path, root: Path, links: Iterable[str]) -> bool:
    """Whether a walk that follows links takes so long that nobody waits for it; the server's does
    when it looks for the newest file of a model. A link to a directory above is followed until the
    system refuses the 40th in one path; where two of them can be taken, each step doubles the
    entries.

    Args:
        top: The model's directory.
        root: The repository; what lies outside is not looked at.
        links: The links below ``top``. Without one to a directory nothing is looked at.
    """
    if not any((top / link).is_dir() for link in links):
        return False
    start = os.path.realpath(top)
    found = _reachable(start, root)
    deepest_first = sorted(found, key=lambda path: path.count("/"), reverse=True)
    before = dict.fromkeys(found, 0)
    counts = []
    for _ in range(_MOST_LINKS):
        now: dict[str, int] = {}
        for path in deepest_first:
            here = found[path]
            inner = sum(now.get(each, 0) for each in here.inner)
            now[path] = here.entries + inner + sum(before.get(each, 0) for each in here.linked)
        before = now
        counts.append(now[start])
    return counts[-1] > max(counts[-4], _ENDLESS)  # it grows to the end only in a circle


def _reachable(top: str, root: Path) -> dict[str, _Directory]:
    found: dict[str, _Directory] = {}
    waiting, left = [top], _MOST_ENTRIES
    while waiting and left > 0:
        path = waiting.pop()
        if path not in found:
            found[path] = _listed(path, root)
            left -= found[path].entries
            waiting += (*found[path].inner, *found[path].linked)
    return found


def _listed(path: str, root: Path) -> _Directory:
    inner, linked, entries = [], [], 0
    try:
        with os.scandir(path) as listing:
            for entry in listing:
                entries += 1
                if not entry.is_symlink():
                    inner += [entry.path] if entry.is_dir() else []
                elif entry.is_dir() and is_inside(Path(entry.path), root):
                    linked.append(os.path.realpath(entry.path))
    except OSError:
        pass
    return _Directory(entries, tuple(inner), tuple(linked))
