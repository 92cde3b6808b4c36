"""Where the tables, schemas and templates of measuring are."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def data_file(*parts: str) -> Path:
    """A table, schema or collection, such as ``prices.toml``."""
    return _PACKAGE.joinpath("data", *parts)


def template_dir(*parts: str) -> Path:
    """A directory or file that is rendered, or runs in another Python."""
    return _PACKAGE.joinpath("templates", *parts)
