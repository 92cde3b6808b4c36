"""Safetensors files of a repository: whole, and every tensor where the header puts it."""

from __future__ import annotations

import os
from pathlib import Path

from trtbuild.check.reading import ReportedError, open_inside
from trtbuild.errors import UnsupportedError
from trtbuild.files.safetensors import Header, read_header


def problem_of(path: Path, root: Path) -> str:
    """Why a file of the repository ``root`` is not complete and sound, empty if it is.

    Raises:
        ReportedError: It lies behind a link out of the repository, or is a Git LFS pointer.
    """
    try:
        _header(path, root)
    except ReportedError:
        raise
    except OSError as error:
        return error.strerror or str(error)
    except UnsupportedError as error:
        return error.what
    return ""


def shapes_of(path: Path, root: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of a file's tensors by name; empty where its header is damaged.

    Raises:
        OSError: It cannot be read, or lies behind a link out of the repository ``root``.
    """
    try:
        tensors = _header(path, root).tensors
    except UnsupportedError:
        return {}
    return {name: tensor.shape for name, tensor in tensors.items()}


def _header(path: Path, root: Path) -> Header:
    with open_inside(path, root) as stream:
        size = os.fstat(stream.fileno()).st_size
        return read_header("it", size, lambda at, length: os.pread(stream.fileno(), length, at))
