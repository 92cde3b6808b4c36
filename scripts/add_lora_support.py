"""Write ``data/vllm_lora.json``: which architectures of a vLLM release take LoRA adapters.

A maintainer's chore, run once for each release that a Triton image carries, without importing vLLM:

    python scripts/add_lora_support.py 0.24.0 0.27.1
    python scripts/add_lora_support.py 0.32.0 --tree …/site-packages   # an installed vLLM

For each architecture the file holds what changed and when: ``[release, null]`` (no adapters),
``[release, ""]`` (adapters of linear layers) or ``[release, "embed_tokens lm_head"]`` (of these
embeddings, too). Read are the classes' ``SupportsLoRA`` and ``embedding_modules``.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.version import Version

sys.path.insert(0, str(Path(__file__).parent))

from add_vllm_engine_args import DATA, NEAREST, REGISTRY_MODULE, download
from wheel_types import Sources

MODELS = "vllm.model_executor.models"
TARGET = DATA / "vllm_lora.json"


class Tree:
    """An installed vLLM, read like a wheel."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def namelist(self) -> list[str]:
        """Paths of the modules."""
        return [str(p.relative_to(self._root)) for p in (self._root / "vllm").rglob("*.py")]

    def read(self, name: str) -> bytes:
        """The bytes of one."""
        return (self._root / name).read_bytes()


def main() -> None:
    """Parse the arguments and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("versions", nargs="+")
    parser.add_argument("--tree", type=Path, help="read this site-packages, not a wheel")
    options = parser.parse_args()
    found = {version: support(version, options.tree) for version in options.versions}
    write({**known(), **found})


def support(version: str, tree: Path | None) -> dict[str, str | None]:
    """Of each architecture its embedding modules, None without adapters."""
    if tree:
        return architectures(Sources(Tree(tree)))  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        wheel = download(NEAREST.get(version, version), Path(folder))
        return architectures(Sources(zipfile.ZipFile(wheel)))


def architectures(sources: Sources) -> dict[str, str | None]:
    """The same from sources. One whose class is not found is left out."""
    found: dict[str, str | None] = {}
    for name, module, class_name in registered(sources):
        definition = sources.find(module, class_name)
        if definition and isinstance(definition[1], ast.ClassDef):
            takes, embeddings = adapters_of(sources, definition[0], definition[1])
            found[name] = " ".join(embeddings or ()) if takes else None
    return found


def registered(sources: Sources) -> Iterator[tuple[str, str, str]]:
    """Architecture, module and class of each row of the registry."""
    try:
        registry = sources.module(REGISTRY_MODULE)
    except KeyError:  # before 0.5.5 the registry was the package itself
        registry = sources.module(MODELS)
    for table, rows in registry.definitions.items():
        if not (isinstance(rows, ast.Dict) and table.strip("_").endswith("MODELS")):
            continue
        for key, row in zip(rows.keys, rows.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(row, ast.Tuple):
                module, class_name = (
                    item.value for item in row.elts[:2] if isinstance(item, ast.Constant)
                )
                dotted = str(module) if "." in str(module) else f"{MODELS}.{module}"
                yield str(key.value), dotted, str(class_name)


def adapters_of(
    sources: Sources, module: str, definition: ast.ClassDef, depth: int = 0
) -> tuple[bool, list[str] | None]:
    """Whether a class takes adapters, and the embedding modules that it or a base names."""
    # Before 0.5.1 a class that takes adapters is one that lists its modules.
    takes = _attribute(definition, "supported_lora_modules") is not None
    value = _attribute(definition, "embedding_modules")
    keys = value.keys if isinstance(value, ast.Dict) else () if value else None
    embeddings = None if keys is None else sorted(_constants(keys))
    for base in definition.bases:
        name = base.value if isinstance(base, ast.Subscript) else base
        named = name.id if isinstance(name, ast.Name) else ""
        if named == "SupportsLoRA":
            takes = True
            continue
        found = sources.find(module, named) if named and depth < 8 else None
        if found and isinstance(found[1], ast.ClassDef):
            also, more = adapters_of(sources, found[0], found[1], depth + 1)
            takes, embeddings = takes or also, more if embeddings is None else embeddings
    return takes, embeddings


def _attribute(definition: ast.ClassDef, name: str) -> ast.expr | None:
    """What the body of a class assigns to ``name``."""
    for node in definition.body:
        targets = node.targets if isinstance(node, ast.Assign) else ()
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return node.value  # type: ignore[union-attr]
    return None


def _constants(keys: Iterable[ast.expr | None]) -> Iterator[str]:
    return (str(key.value) for key in keys if isinstance(key, ast.Constant))


def known() -> dict[str, dict[str, str | None]]:
    """The table as it is, by release."""
    if not TARGET.exists():
        return {}
    table = json.loads(TARGET.read_text(encoding="utf-8"))
    found: dict[str, dict[str, str | None]] = {}
    for release in table["releases"]:
        found[release] = {}
        for name, changes in table["architectures"].items():
            at = [row for row in changes if Version(row[0]) <= Version(release)]
            if at and at[-1][1] is not False:
                found[release][name] = at[-1][1]
    return found


def write(found: dict[str, dict[str, str | None]]) -> None:
    """Write the changes from release to release; ``false`` is an architecture that is gone."""
    releases = sorted(found, key=Version)
    changes: dict[str, list[list[object]]] = {}
    for release in releases:
        for name in {*found[release], *changes}:
            value = found[release].get(name, False)
            rows = changes.setdefault(name, [])
            if (rows[-1][1] if rows else False) != value:
                rows.append([release, value])
    lines = ",\n".join(
        f"{json.dumps(name)}:{json.dumps(rows, separators=(',', ':'))}"
        for name, rows in sorted(changes.items())
    )
    head = f'{{"releases":{json.dumps(releases, separators=(",", ":"))},\n"architectures":{{\n'
    TARGET.write_text(f"{head}{lines}\n}}}}\n", encoding="utf-8")
    print(f"{len(releases)} releases, {len(changes)} architectures")


if __name__ == "__main__":
    main()
