"""Benchmarks of served LLMs: targets, loads, metrics and comparisons."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def settings(value: Any) -> Any:
    """Options as JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: settings(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): settings(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [settings(item) for item in value]
    return str(value) if isinstance(value, Path) else value
