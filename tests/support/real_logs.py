"""Logs of public reports (tests/data/real_logs.toml)."""

from __future__ import annotations

import tomllib
from pathlib import Path

LOGS = tomllib.loads(
    (Path(__file__).parents[1] / "data" / "real_logs.toml").read_text(encoding="utf-8")
)["log"]
