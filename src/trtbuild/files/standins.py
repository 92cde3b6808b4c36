"""Detect Git LFS pointers, web pages and broken links in place of files.

Format of a pointer: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md (version 1): text of
fewer than 1,024 bytes whose first line names the specification.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

_LARGEST_POINTER = 1024
_POINTER = re.compile(rb"version https://(git-lfs\.github\.com|hawser\.github\.com)/spec/v\d")

_LARGEST_PAGE = 4 << 20
_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE)

StandIn = Literal["pointer", "page", "link"]


def is_pointer(head: bytes, size: int) -> bool:
    """Whether a file of ``size`` bytes that begins with ``head`` is a Git LFS pointer."""
    return size < _LARGEST_POINTER and _POINTER.match(head) is not None


def stand_in(path: Path) -> StandIn | None:
    """Return what is at ``path`` in place of a file; None for a real file or nothing."""
    try:
        size = path.stat().st_size
        if size >= _LARGEST_POINTER or not path.is_file():
            return None
        with path.open("rb") as file:
            return "pointer" if is_pointer(file.read(_LARGEST_POINTER), size) else None
    except OSError:  # it does not exist, or its link is broken or circular
        return "link" if _is_link(path) else None


def is_web_page(path: Path) -> bool:
    """Whether a download was a page about a file (of a repository's viewer, or an error's)."""
    try:
        if path.stat().st_size > _LARGEST_PAGE or not path.is_file():
            return False
        with path.open("rb") as file:
            return begins_page(file.read(_LARGEST_POINTER))
    except OSError:
        return False


def begins_page(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is a web page."""
    return _PAGE.match(head) is not None


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:  # a name too long for any file system
        return False


def explain_stand_ins(stand_ins: Mapping[str, StandIn], root: Path) -> list[tuple[str, str]]:
    """Return problem and fix for each kind in ``stand_ins``, with file names below ``root``."""
    pointers = sorted(name for name, kind in stand_ins.items() if kind == "pointer")
    pages = sorted(name for name, kind in stand_ins.items() if kind == "page")
    links = sorted(name for name, kind in stand_ins.items() if kind == "link")
    problems = []
    if pointers:
        are = "is a Git LFS pointer" if len(pointers) == 1 else "are Git LFS pointers"
        problems.append(
            (
                f"{_listed(pointers)} {are}, not the real content",
                f"run in {root}: git lfs install && git lfs pull",
            )
        )
    if pages:
        are = "is a web page" if len(pages) == 1 else "are web pages"
        problems.append(
            (
                f"{_listed(pages)} {are}, not the file itself",
                "download it again from its raw address (on the hub /resolve/, not /blob/), logged "
                "in if the checkpoint is gated",
            )
        )
    if links:
        kind = "is a broken link" if len(links) == 1 else "are broken links"
        target = _target(root / links[0])
        first = f" ({links[0]} points to {target})" if target else ""
        problems.append(
            (
                f"{_listed(links)} {kind}{first}",
                "copy the checkpoint again with its links followed (cp -rL), or download it again",
            )
        )
    return problems


def _listed(names: list[str], shown: int = 3) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _target(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""
