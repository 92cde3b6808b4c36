"""Write docs/reference/deploy.md from the model of deploy.yaml; ``--check`` only compares."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trtbuild_deploy.settings import Settings, schema_of

PAGE = Path(__file__).resolve().parents[1] / "docs/reference/deploy.md"
HEAD = """\
# deploy.yaml

Every key of the file that `trtbuild deploy` takes with `-f`, with its default. Written by
`scripts/document_deploy.py` from the model that reads the file; `trtbuild deploy schema` prints
the same as JSON schema. What it is for: [the guide](../guides/deploy.md).
"""


def page() -> str:
    """The whole page."""
    schema = schema_of(Settings)
    sections = dict(_sections(schema))
    top = {name: row for name, row in schema["properties"].items() if name not in sections}
    parts = [HEAD, "## The file\n", *_table(top)]
    for name, section in sections.items():
        parts += [f"## {name}\n", f"{section['description']}\n", *_table(section["properties"])]
    return "\n".join(parts)


def _sections(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, row in schema["properties"].items():
        if "$ref" in row:
            yield name, schema["$defs"][row["$ref"].rpartition("/")[2]]


def _table(rows: dict[str, Any]) -> list[str]:
    lines = ["| Key | Values | Default | |", "|---|---|---|---|"]
    for name, row in rows.items():
        cells = (f"`{name}`", _values(row), _default(row), row.get("description", ""))
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _values(row: dict[str, Any]) -> str:
    if "enum" in row:
        return ", ".join(f"`{value}`" if value else "empty" for value in row["enum"])
    if "$ref" in row:
        return "mapping"
    kinds = [one.get("type", "text") for one in row.get("anyOf", [row])]
    names = {"object": "mapping", "string": "text", "array": "list", "integer": "number"}
    return " or ".join(dict.fromkeys(names.get(kind, kind) for kind in kinds if kind != "null"))


def _default(row: dict[str, Any]) -> str:
    found = row.get("default")
    empty = found is None or found in ("", [], {})
    text = str(found).lower() if isinstance(found, bool) else str(found)
    return "" if empty else f"`{text}`"


def main() -> int:
    """Write the page, or compare it."""
    made = page()
    if "--check" in sys.argv[1:]:
        fresh = PAGE.exists() and PAGE.read_text(encoding="utf-8") == made
        if not fresh:
            print(f"{PAGE.name} is out of date; run: python scripts/document_deploy.py")
        return int(not fresh)
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
