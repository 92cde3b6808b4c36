"""Where the tables and the worker of quantization are."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def data_file(*parts: str) -> Path:
    """A table, such as ``quantize.toml``."""
    return _PACKAGE.joinpath("data", *parts)


def template_dir(*parts: str) -> Path:
    """A file that runs in another Python, or that it is given."""
    return _PACKAGE.joinpath("templates", *parts)
