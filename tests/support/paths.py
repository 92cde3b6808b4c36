"""Where things lie in the checkout, wherever a test lies."""

from __future__ import annotations

import tomllib
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WHEEL_ROOTS: tuple[str, ...] = tuple(_PROJECT["tool"]["hatch"]["build"]["dev-mode-dirs"])
"""The source roots of trtbuild's own wheel."""
