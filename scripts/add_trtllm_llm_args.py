"""Write ``data/trtllm_llm_args/<version>.json``: the arguments of TensorRT-LLM's ``LLM()``.

A maintainer's chore, run once for each TensorRT-LLM that a Triton image carries. The wheel is not
in a registry that everyone reaches, its sources are public: ``tensorrt_llm/llmapi/llm_args.py`` of
the release's tag, or the "Source code for" page of it in the release's documentation, and
``docs/source/models/supported-models.md``. They are read with :mod:`ast`, never imported:

    python scripts/add_trtllm_llm_args.py 1.2.1 llm_args.py lora_helper.py --models models.md

A release that cannot be had is written from another one, and the file says so:

    python scripts/add_trtllm_llm_args.py 1.2.0 llm_args.py --models models.md --from 1.2.1
"""

from __future__ import annotations

import argparse
import ast
import html
import json
import re
from pathlib import Path
from typing import Any

from declared import Annotation, Sources, aliases, default_of, keyword_of, name_of

DATA = Path(__file__).parents[1] / "src" / "trtbuild" / "data" / "trtllm_llm_args"
ROOT = "TorchLlmArgs"

# Registered in tensorrt_llm/_torch/models/__init__.py (commit 015fb89c, before 1.0.0) and missing
# in the documentation's table of models.
REGISTERED = ("Qwen2MoeForCausalLM",)


def main() -> None:
    """Parse the arguments and write one file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("version", help="as the toolchain table names it")
    parser.add_argument("sources", nargs="+", type=Path, help="llm_args.py, lora_helper.py; .html")
    parser.add_argument("--models", type=Path, required=True, help="supported-models.md")
    parser.add_argument("--from", dest="origin", default="", help="the release that was read")
    options = parser.parse_args()
    sources = Sources([source_text(path) for path in options.sources])
    architectures = re.findall(r"`(\w+For\w+)`", options.models.read_text(encoding="utf-8"))
    table = {
        "arguments": arguments(sources, ROOT),
        "groups": groups(sources, ROOT, ""),
        "architectures": sorted({*architectures, *REGISTERED}),
    }
    text = render(options.version, options.origin or options.version, table)
    json.loads(text)
    DATA.mkdir(exist_ok=True)
    (DATA / f"{options.version}.json").write_text(text, encoding="utf-8")
    print(f"{options.version}: {len(table['arguments'])} arguments, {len(table['groups'])} groups")


def source_text(path: Path) -> str:
    """Python source, also out of a documentation page."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".html":
        return text
    block = re.search(r'<div class="highlight"><pre>(.*?)</pre>', text, re.DOTALL)
    if block is None:
        raise SystemExit(f"{path} holds no source code")
    without_links = re.sub(r'<a class="viewcode-back".*?</a>', "", block[1], flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", "", without_links))


def arguments(sources: Sources, owner: str) -> dict[str, dict[str, Any]]:
    """Rows by name: ``types``, ``null``, ``default``, ``choices``."""
    rows = {}
    for name, node in sources.fields(owner).items():
        found = sources.annotation(node.annotation)
        row = row_of(found, node)
        if row is not None:
            rows.update(dict.fromkeys(aliases(node) or [name], row))
    return rows


def row_of(found: Annotation, node: ast.AnnAssign) -> dict[str, Any] | None:
    """One argument; None for what YAML cannot hold."""
    types = found.types | ({"dict"} if found.classes else set())
    types |= {type(choice).__name__ for choice in found.choices}
    if types == {"object"}:
        return None
    if "object" in types:
        types = {"any"}
    row: dict[str, Any] = {"types": sorted(types)}
    if found.null:
        row["null"] = True
    default = default_of(node)
    if default is not ...:
        row["default"] = default
    if found.choices and not found.types:
        row["choices"] = found.choices
    return row | bounds(node)


_BOUNDS = {"ge": "min", "gt": "above", "le": "max", "lt": "below"}
_TYPED = {"PositiveInt": {"above": 0}, "NonNegativeInt": {"min": 0}, "NonNegativeFloat": {"min": 0}}


def bounds(node: ast.AnnAssign) -> dict[str, Any]:
    """What ``Field(gt=0)`` and pydantic's bounded types say of a number, and whether the field has
    no default. What validators check in code is in ``data/trtllm_llm_checks.toml``."""
    text = ast.unparse(node.annotation)
    row: dict[str, Any] = {}
    for name, bound in _TYPED.items():
        row |= bound if re.search(rf"\b{name}\b", text) else {}
    for keyword, bound in _BOUNDS.items():
        value = keyword_of(node, keyword)
        if value is not ...:
            row[bound] = value
    if is_required(node):
        row["required"] = True
    return row


def is_required(node: ast.AnnAssign) -> bool:
    """Whether a field has neither a default nor something that makes one."""
    if not isinstance(node.value, ast.Call):
        return node.value is None
    if name_of(node.value.func) not in ("Field", "PydanticField"):
        return False
    given = {keyword.arg for keyword in node.value.keywords}
    first = node.value.args[0] if node.value.args else ast.Constant(...)
    without = isinstance(first, ast.Constant) and first.value is ...
    return without and not given & {"default", "default_factory"}


def groups(sources: Sources, owner: str, prefix: str) -> dict[str, dict[str, Any]]:
    """The arguments that are objects of known fields, at any depth, by dotted name."""
    found: dict[str, dict[str, Any]] = {}
    for name, node in sources.fields(owner).items():
        classes = sources.annotation(node.annotation).classes
        path = f"{prefix}{name}"
        if len(classes) == 1:
            found[path] = {"variants": {"": arguments(sources, classes[0])}}
            found |= groups(sources, classes[0], f"{path}.")
        elif classes:
            selector, kinds = variants(sources, classes[0])
            usable = {kind: c for kind, c in kinds.items() if _for_pytorch(sources, c)}
            rows = {kind: arguments(sources, c) for kind, c in usable.items()}
            found[path] = {"selector": selector, "variants": rows}
    return found


def variants(sources: Sources, class_name: str) -> tuple[str, dict[str, str]]:
    """The key and the table by which ``from_dict`` of a base chooses among its subclasses."""
    for definition in sources.lineage(class_name):
        for node in ast.walk(definition):
            if isinstance(node, ast.Assign) and name_of(node.targets[0]) == "config_classes":
                assert isinstance(node.value, ast.Dict)
                pairs = zip(node.value.keys, node.value.values, strict=True)
                kinds = {ast.literal_eval(key): name_of(value) for key, value in pairs if key}
                return _selector(definition), kinds
    raise SystemExit(f"{class_name}: no table of its kinds")


def _selector(definition: ast.ClassDef) -> str:
    """``X`` of ``data.get("X")``."""
    for node in ast.walk(definition):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "data.get":
            return str(ast.literal_eval(node.args[0]))
    raise SystemExit(f"{definition.name}: what chooses the kind is not to be seen")


def _for_pytorch(sources: Sources, class_name: str) -> bool:
    """Whether ``supports_backend`` does not rule the PyTorch backend out."""
    texts = [
        ast.unparse(node)
        for definition in sources.lineage(class_name)
        for node in definition.body
        if isinstance(node, ast.FunctionDef) and node.name == "supports_backend"
    ]
    return not (texts and "not in" in texts[-1] and "pytorch" in texts[-1])


def render(version: str, origin: str, table: dict[str, Any]) -> str:
    """One line an argument, so that two releases can be compared with diff."""
    rows = _lines(table["arguments"])
    parts = []
    for name, group in table["groups"].items():
        kinds = [f"{json.dumps(k)}: {{\n{_lines(v)}\n}}" for k, v in group["variants"].items()]
        selector = f'"selector": {json.dumps(group["selector"])}, ' if "selector" in group else ""
        parts.append(f'{json.dumps(name)}: {{{selector}"variants": {{\n' + ",\n".join(kinds) + "}}")
    return (
        f'{{"trtllm": "{version}", "extracted_from": "{origin}",\n"arguments": {{\n{rows}\n}},\n'
        + '"groups": {\n' + ",\n".join(parts) + "\n},\n"
        + f'"architectures": {json.dumps(table["architectures"])}}}\n'
    )  # fmt: skip


def _lines(rows: dict[str, Any]) -> str:
    compact = (json.dumps(row, separators=(",", ":")) for row in rows.values())
    return ",\n".join(f"{json.dumps(n)}: {row}" for n, row in zip(rows, compact, strict=True))


if __name__ == "__main__":
    main()
