"""Write the layer table of docs/concepts/architecture.md; ``--check`` only compares."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/concepts/architecture.md"
BEGIN = "<!-- layers: written by scripts/document_layers.py from pyproject.toml -->\n"
END = "<!-- end of layers -->\n"


def page(text: str, project: dict[str, Any]) -> str:
    """The page ``text`` with the table between its marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{PAGE.relative_to(ROOT)} lacks the line {BEGIN if end else END}")
    return f"{before}{begin}\n{''.join(_table(project))}\n{end}{after}"


def _table(project: dict[str, Any]) -> Iterator[str]:
    layers = _layers(project)
    named = project["tool"]["trtbuild"]["layers"]
    if len(named) != len(layers):
        raise SystemExit(
            f"pyproject.toml: tool.trtbuild.layers names {len(named)} layers, the contract "
            f"'Imports only go down' has {len(layers)}"
        )
    yield "| Layer | Packages | Know about |\n|---|---|---|\n"
    for (name, about), packages in zip(named, layers, strict=True):
        shown = ", ".join(f"`{package.strip()}`" for package in packages.split("|"))
        yield f"| {name} | {shown} | {about} |\n"


def _layers(project: dict[str, Any]) -> list[str]:
    contracts = project["tool"]["importlinter"]["contracts"]
    found: list[str] = next(one["layers"] for one in contracts if one["type"] == "layers")
    return found


def main() -> int:
    """Write the page, or compare it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    text = PAGE.read_text(encoding="utf-8")
    made = page(text, project)
    if "--check" in sys.argv[1:]:
        if made != text:
            print(
                f"{PAGE.relative_to(ROOT)} is out of date; run: python scripts/document_layers.py"
            )
        return int(made != text)
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
