"""Where things lie in the checkout, wherever a test lies."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
WHEEL_ROOTS = (
    "src", "builders", "checkpoints", "dialects", "rules", "measure", "deploy", "engine_flow",
)  # fmt: skip
"""The source roots of trtbuild's own wheel."""
