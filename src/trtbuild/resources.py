"""Where shipped data, caches and state live."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from trtbuild.errors import UsageError

_PACKAGE = Path(__file__).resolve().parent


def data_file(*parts: str) -> Path:
    """A data file of the core package, such as ``toolchains.toml``."""
    return _PACKAGE.joinpath("data", *parts)


def template_dir(*parts: str) -> Path:
    """Return a directory of templates: ``_templates`` in the wheel, else ``templates/``."""
    installed = _PACKAGE / "_templates"
    root = installed if installed.is_dir() else _PACKAGE.parents[1] / "templates"
    return root.joinpath(*parts)


def core_module(*parts: str) -> Path:
    """A source file of the core that runs inside Triton, too: builders copy it."""
    return _PACKAGE.joinpath(*parts)


def cache_dir(*parts: str) -> Path:
    """What can be made again: the runtime, converted samples, file digests.

    ``TRTBUILD_CACHE_DIR`` overrides the platform's own place.
    """
    root = os.environ.get("TRTBUILD_CACHE_DIR") or platformdirs.user_cache_dir("trtbuild")
    return expanded(root).joinpath(*parts)


def state_dir(*parts: str) -> Path:
    """What running servers leave behind: their records and logs.

    ``TRTBUILD_STATE_DIR`` overrides the platform's own place.
    """
    root = os.environ.get("TRTBUILD_STATE_DIR") or platformdirs.user_state_dir("trtbuild")
    return expanded(root).joinpath(*parts)


def expanded(path: str | Path) -> Path:
    """Return a path with ``~`` or ``~user`` at its beginning replaced by that home directory.

    Raises:
        UsageError: There is no such user, or the home directory is unknown.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(
            f"there is no known home directory for {str(path)!r}", fix="write the whole path"
        ) from None
