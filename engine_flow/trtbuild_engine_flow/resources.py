"""Where the engine flow's tables and templates are."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def data_file(*parts: str) -> Path:
    """A table of the engine flow, such as ``parameters.toml``."""
    return _PACKAGE.joinpath("data", *parts)


def template_dir(*parts: str) -> Path:
    """A directory or file that the engine flow renders or copies."""
    return _PACKAGE.joinpath("templates", *parts)
