"""What a gateway imports: descriptions of models, the wire protocols and chat templates."""

from __future__ import annotations

import subprocess
import sys

import pytest

_REFUSING = """
import importlib, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("typer", "rich", "huggingface_hub", "gguf"):
            raise ImportError(f"{name} must not be needed")

sys.meta_path.insert(0, Refuse())
importlib.import_module(sys.argv[1])
"""


@pytest.mark.parametrize("module", ["trtbuild.signature", "trtbuild.wire", "trtbuild.chat"])
def test_a_gateway_imports_it_without_the_command_lines_packages(module: str) -> None:
    subprocess.run([sys.executable, "-c", _REFUSING, module], check=True)


def test_the_hook_refuses_what_the_command_line_needs() -> None:
    command = [sys.executable, "-c", _REFUSING, "trtbuild.cli.app"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "must not be needed" in result.stderr
