"""Limits of the code: what ``--help`` may import, how long files and functions are, and through
how many modules a conversion goes."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FrameType

import pytest

from support.checkpoints import make_llama
from support.paths import ROOT, WHEEL_ROOTS
from trtbuild.pipeline.convert import convert
from trtbuild.recipe import ModelRecipe

ROOTS = (*WHEEL_ROOTS, "backends", "adapters", "gateway", "templates")
SOURCES = sorted(path for root in ROOTS for path in (ROOT / root).rglob("*.py"))
HEAVY = [
    "torch",
    "transformers",
    "grpc",
    "fastapi",
    "docker",
    "matplotlib",
    "numpy",
    "pydantic",
    "huggingface_hub",
    "tokenizers",
    "safetensors",
    "vllm",
    "tritonclient",
    "google.protobuf",
]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements below one. Expressions are most of a tree, and no function is in one."""
    for part in ("body", "orelse", "finalbody", "handlers", "cases"):
        for inner in getattr(node, part, ()):
            yield inner
            yield from statements(inner)


def percentile_95(values: list[int]) -> float:
    return statistics.quantiles(values, n=20)[-1]


def test_the_command_line_imports_nothing_heavy() -> None:
    code = (
        f"import sys; from trtbuild.cli.app import app; "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_files_are_short() -> None:
    assert percentile_95([lines(path) for path in SOURCES]) <= 300


def test_the_core_is_small() -> None:
    assert sum(lines(path) for path in (ROOT / "src/trtbuild").rglob("*.py")) <= 36_000


@pytest.mark.slow
def test_functions_are_short() -> None:
    lengths = {
        f"{path.relative_to(ROOT)}:{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in SOURCES
        for node in statements(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert percentile_95(list(lengths.values())) <= 30
    assert [name for name, length in lengths.items() if length > 80] == []


def test_a_recipe_passes_few_modules_of_the_core(tmp_path: Path, cache_dir: Path) -> None:
    """A newcomer who follows a conversion opens no more files than these. A builder that is not
    chosen gives its reasons, and that is all."""
    seen: set[str] = set()

    def called(frame: FrameType, event: str, _: object) -> None:
        code, name = frame.f_code, str(frame.f_globals.get("__name__"))
        if event == "call" and name.startswith("trtbuild"):
            given = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            values = [frame.f_locals.get(each) for each in given if each != "self"]
            if any(isinstance(getattr(one, "recipe", one), ModelRecipe) for one in values):
                seen.add(name)

    recipe = ModelRecipe(source=str(make_llama(tmp_path / "llama")), name="bot", backend="vllm")
    sys.setprofile(called)
    try:
        convert(recipe, repository=tmp_path / "repo")
    finally:
        sys.setprofile(None)
    core = {name for name in seen if name.startswith("trtbuild.")}
    assert {"trtbuild.pipeline.convert", "trtbuild.pipeline.job"} < core and len(core) <= 11, core
    of_other = {name for name in seen if name.startswith("trtbuild_engine_flow.")}
    assert of_other <= {"trtbuild_engine_flow.builder", "trtbuild_engine_flow.builder.reasons"}


def test_every_module_says_what_it_is() -> None:
    silent = [path for path in SOURCES if not path.read_text(encoding="utf-8").startswith('"""')]
    assert not silent


def test_what_runs_inside_triton_imports_nothing_of_ours() -> None:
    for path in (path for path in SOURCES if "templates" in path.parts):
        for node in ast.walk(tree(path)):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            assert not [name for name in names if name.split(".")[0] == "trtbuild"], path
