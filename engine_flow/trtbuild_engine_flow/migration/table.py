"""The mapping of each parameter and tensor (``data/migrate.toml``)."""

from __future__ import annotations

import tomllib
from functools import cache
from typing import Any

from trtbuild_engine_flow.resources import data_file


@cache
def table() -> dict[str, Any]:
    """Return the table, with its parameters by key."""
    found = tomllib.loads(data_file("migrate.toml").read_text(encoding="utf-8"))
    found["parameter"] = {row["key"]: row for row in found["parameter"]}
    return found
