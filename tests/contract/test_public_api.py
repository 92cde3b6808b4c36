"""What a gateway imports: descriptions of models, the wire protocols and chat templates."""

from __future__ import annotations

import subprocess
import sys

_REFUSING = """
import importlib, pkgutil, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("typer", "rich", "huggingface_hub", "gguf", "tritonclient"):
            raise ImportError(f"{name} must not be needed")

sys.meta_path.insert(0, Refuse())
for top in sys.argv[1:]:
    module = importlib.import_module(top)
    for found in pkgutil.walk_packages(getattr(module, "__path__", ()), top + "."):
        importlib.import_module(found.name)
"""
_DIALECTS = """
from trtbuild.signature.dialects import installed
assert not installed().broken, installed().broken
print(*sorted(one.name for one in installed().dialects))
"""


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_gateway_imports_all_of_it_without_the_command_lines_packages() -> None:
    modules = ("trtbuild.signature", "trtbuild.wire", "trtbuild.chat")
    done = run(_REFUSING + _DIALECTS, *modules)
    assert done.returncode == 0, done.stderr
    ours = {"vllm", "llmapi", "ensemble", "embed", "rerank", "classify"}
    assert ours <= set(done.stdout.split())


def test_the_hook_refuses_what_the_command_line_needs() -> None:
    assert "must not be needed" in run(_REFUSING, "trtbuild.cli.app").stderr
