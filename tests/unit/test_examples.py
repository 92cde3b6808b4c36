"""The examples are valid programs on their own: nothing of ours is imported."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

from support.paths import ROOT

EXAMPLES = ROOT / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_compiles_and_needs_only_tritonclient(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    compile(tree, str(path), "exec")
    modules = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert not any(name.startswith("trtbuild") for name in modules)
    assert any(name.startswith("tritonclient") for name in modules)
    assert (ast.get_docstring(tree) or "").count("python " + path.name) == 1


def test_the_shell_example_parses() -> None:
    subprocess.run(["sh", "-n", EXAMPLES / "curl.sh"], check=True)
