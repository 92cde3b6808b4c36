"""Where the tables, the probe and the chart are."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def data_file(*parts: str) -> Path:
    """A file of this package, such as ``metrics.toml``."""
    return _PACKAGE.joinpath("data", *parts)
