"""Coloured lines for commands that must start fast: rich takes as long as a whole validation."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer

_STYLES: dict[str, dict[str, Any]] = {
    "error": {"fg": typer.colors.RED, "bold": True},
    "warning": {"fg": typer.colors.YELLOW, "bold": True},
    "info": {"fg": typer.colors.CYAN, "bold": True},
    "good": {"fg": typer.colors.GREEN},
    "bad": {"fg": typer.colors.RED},
    "place": {"fg": typer.colors.CYAN},
    "title": {"bold": True, "underline": True},
    "bold": {"bold": True},
    "dim": {"dim": True},
}


def paint(text: str, style: str) -> str:
    """``text`` in a style by name."""
    return typer.style(text, **_STYLES[style]) if text else ""


# What a terminal that is not Unicode shows instead.
_PLAIN = str.maketrans(
    {"│": "|", "┌": "+", "├": "+", "└": "+", "─": "-", "✓": "+", "✗": "x", "…": "...", "×": "x"}
)


def say(line: str, *, err: bool = False) -> None:
    """Print a line; without colours on a pipe or where NO_COLOR is set (https://no-color.org)."""
    encoding = (sys.stderr if err else sys.stdout).encoding or "utf-8"
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        line = line.translate(_PLAIN).encode(encoding, errors="replace").decode(encoding)
    color = False if os.environ.get("NO_COLOR") else bool(os.environ.get("FORCE_COLOR")) or None
    typer.echo(line, err=err, color=color)
