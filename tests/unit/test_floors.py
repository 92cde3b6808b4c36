"""The house's own rules: what ``--help`` may import, and how long files and functions are."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from support.paths import ROOT

SOURCES = sorted(
    path
    for folder in (
        "src",
        "builders",
        "dialects",
        "rules",
        "measure",
        "deploy",
        "batch",
        "experiments",
        "artifacts",
        "drift",
        "importing",
        "engine_flow",
        "backends",
        "gateway",
        "templates",
    )
    for path in (ROOT / folder).rglob("*.py")
)
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


def test_files_are_short() -> None:
    lengths = [len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES]
    assert percentile_95(lengths) <= 300


@pytest.mark.slow
def test_functions_are_short() -> None:
    lengths = [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for path in SOURCES
        for node in statements(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert percentile_95(lengths) <= 40


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
