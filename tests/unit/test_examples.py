"""The examples are valid programs that name their libraries and how they are started."""

from __future__ import annotations

import ast
import subprocess

import pytest

from support.paths import ROOT

EXAMPLES = ROOT / "examples"


@pytest.mark.parametrize(
    ("name", "library", "start"),
    [
        ("grpc_aio.py", "tritonclient", "python grpc_aio.py"),
        ("grpc_stream.py", "tritonclient", "python grpc_stream.py"),
        ("langserve_app.py", "langserve", "uvicorn langserve_app:app"),
        ("ray_serve.py", "ray", "serve run ray_serve:application"),
    ],
)
def test_an_example_compiles_and_says_how_it_is_started(
    name: str, library: str, start: str
) -> None:
    path = EXAMPLES / name
    tree = ast.parse(path.read_text(encoding="utf-8"))
    compile(tree, str(path), "exec")
    modules = {
        ((node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    needed = {module.partition(".")[0] for module in modules}
    assert library in needed
    assert ("trtbuild" in needed) == (name == "ray_serve.py"), "clients need nothing of ours"
    assert (ast.get_docstring(tree) or "").count(start) == 1


def test_every_example_is_one_of_those_above() -> None:
    assert len(list(EXAMPLES.glob("*.py"))) == 4


def test_the_shell_example_parses() -> None:
    subprocess.run(["sh", "-n", EXAMPLES / "curl.sh"], check=True)
