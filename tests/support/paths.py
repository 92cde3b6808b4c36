"""Where things lie in the checkout, wherever a test lies."""

from __future__ import annotations

import tomllib
from importlib.util import find_spec
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WHEEL_ROOTS: tuple[str, ...] = tuple(_PROJECT["tool"]["hatch"]["build"]["dev-mode-dirs"])
"""The source roots of trtbuild's own wheel."""

_CHECK_JSONSCHEMA = find_spec("check_jsonschema")  # its import takes a quarter of a second
assert _CHECK_JSONSCHEMA is not None and _CHECK_JSONSCHEMA.origin is not None
JSON_SCHEMAS = Path(_CHECK_JSONSCHEMA.origin).parent / "builtin_schemas/vendor"
"""The schemas of other programs' files that check-jsonschema brings."""
