"""Write ``data/vision_placeholders.json``: what stands for an image in the prompt of each model.

A maintainer's chore, run once with the newest vLLM, which is not imported:

    python scripts/add_vision_placeholders.py 0.32.0
    python scripts/add_vision_placeholders.py 0.32.0 --tree …/site-packages   # an installed vLLM

vLLM's classes return it from ``get_placeholder_str``; ``{i}`` is the number of the image, from 1.
An architecture without one is left out: its processor puts images in without a placeholder.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from add_lora_support import Tree, registered
from add_vllm_engine_args import DATA, NEAREST, download
from wheel_types import Sources

TARGET = DATA / "vision_placeholders.json"


def main() -> None:
    """Parse the arguments and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("version")
    parser.add_argument("--tree", type=Path, help="read this site-packages, not a wheel")
    options = parser.parse_args()
    if options.tree:
        found = placeholders(Sources(Tree(options.tree)))  # type: ignore[arg-type]
    else:
        with tempfile.TemporaryDirectory() as folder:
            wheel = download(NEAREST.get(options.version, options.version), Path(folder))
            found = placeholders(Sources(zipfile.ZipFile(wheel)))
    document = {
        "source": f"vLLM {options.version}, get_placeholder_str of vllm/model_executor/models",
        "read": datetime.now(UTC).date().isoformat(),
        "placeholders": dict(sorted(found.items())),
    }
    TARGET.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(found)} architectures")


def placeholders(sources: Sources) -> dict[str, str]:
    """The placeholder of an image by architecture."""
    found = {}
    for name, module, class_name in registered(sources):
        definition = sources.find(module, class_name)
        if definition and isinstance(definition[1], ast.ClassDef):
            method = _method(sources, definition[0], definition[1])
            if method and (text := next(_images(method), "")):
                found[name] = text
    return found


def _method(
    sources: Sources, module: str, definition: ast.ClassDef, depth: int = 0
) -> ast.FunctionDef | None:
    """``get_placeholder_str`` of a class or of the first base that has it."""
    for node in definition.body:
        if isinstance(node, ast.FunctionDef) and node.name == "get_placeholder_str":
            return node
    for base in definition.bases:
        named = base.id if isinstance(base, ast.Name) else ""
        found = sources.find(module, named) if named and depth < 8 else None
        if found and isinstance(found[1], ast.ClassDef):
            method = _method(sources, found[0], found[1], depth + 1)
            if method:
                return method
    return None


def _images(method: ast.FunctionDef) -> Iterator[str]:
    """What it returns under a condition that names images."""
    for node in ast.walk(method):
        if not isinstance(node, ast.If) or "image" not in ast.unparse(node.test):
            continue
        for inner in node.body:
            if isinstance(inner, ast.Return) and inner.value is not None:
                yield _text(inner.value)


def _text(value: ast.expr) -> str:
    """A constant, or an f-string of the image's number."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return value.value
    if isinstance(value, ast.JoinedStr):
        parts = []
        for part in value.values:
            known = isinstance(part, ast.FormattedValue) and ast.unparse(part.value) == "i"
            parts.append(
                str(part.value) if isinstance(part, ast.Constant) else "{i}" if known else ""
            )
        return "".join(parts) if all(parts) else ""
    return ""


def _part(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    number = isinstance(part, ast.FormattedValue) and ast.unparse(part.value) == "i"
    return "{i}" if number else ""


if __name__ == "__main__":
    main()
