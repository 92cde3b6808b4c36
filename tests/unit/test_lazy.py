"""Packages that import their names when these are used, and what a validation therefore loads."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

SAMPLE = Path(__file__).resolve().parents[2] / "examples/model_repository"
PACKAGES = [
    "trtbuild.modelspec",
    "trtbuild.recipe",
    "trtbuild.signature",
    "trtbuild.toolchain",
    "trtbuild_engine_flow.engineconfig",
]
UNNEEDED = {
    "grpc", "httpx", "jinja2", "numpy", "onnx", "pydantic", "rich", "tokenizers", "yaml",
    "trtbuild_rules.readers.graphs.onnxfile", "trtbuild_rules.readers.graphs.openvinofile",
    "trtbuild_rules.readers.python.pysource",
    "trtbuild.modelspec.head", "trtbuild.modelspec.model", "trtbuild.modelspec.vision",
    "trtbuild_engine_flow.parameters", "trtbuild_deploy.rules.view",
}  # fmt: skip


@pytest.mark.parametrize("name", PACKAGES)
def test_a_lazy_name_is_typed_listed_and_there(name: str) -> None:
    package = import_module(name)
    tree = ast.parse(inspect.getsource(package))
    typed = {
        alias.name
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    mapping = next(
        node.args[1]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "exports"
    )
    modules = {module: set(names) for module, names in ast.literal_eval(mapping).items()}
    assert typed == set().union(*modules.values()) <= set(package.__all__)
    for module, names in modules.items():
        for each in names:
            own = getattr(import_module(f"{name}.{module}"), each)
            assert getattr(package, each) is own
    # The import of such a module would put the module where the name is expected.
    assert not typed & {path.stem for path in Path(package.__path__[0]).iterdir()}
    with pytest.raises(AttributeError, match="has no attribute 'nothing_such'"):
        _ = package.nothing_such


@pytest.mark.slow
def test_a_validation_loads_what_it_needs(tmp_path: Path) -> None:
    code = (
        "import json, sys\n"
        "from trtbuild.cli.app import main\n"
        f"sys.argv = ['trtbuild', 'validate', {str(SAMPLE)!r}]\n"
        "try:\n    main()\n"
        "finally:\n    print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
    )
    for _ in range(2):  # the first run reads the tokenizer and remembers what it found
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
        )
    loaded = set(json.loads(done.stderr.splitlines()[-1]))
    assert "trtbuild_rules.language.vllm" in loaded
    assert sorted(loaded & UNNEEDED) == []
