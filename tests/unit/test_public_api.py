"""A gateway imports the description, the wire and the chat template without the command line."""

from __future__ import annotations

import subprocess
import sys

FORBIDDEN = ("typer", "rich", "huggingface_hub", "gguf", "tritonclient")
SCRIPT = f"""
import importlib, pkgutil, sys

class Hook:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {FORBIDDEN!r}:
            raise ImportError(f"a gateway has no {{name}}")

sys.meta_path.insert(0, Hook())
names = []
for top in ("trtbuild.signature", "trtbuild.wire", "trtbuild.chat"):
    module = importlib.import_module(top)
    names.append(top)
    for found in pkgutil.walk_packages(getattr(module, "__path__", ()), top + "."):
        importlib.import_module(found.name)
        names.append(found.name)

from trtbuild.signature.dialects import installed
assert not installed().broken, installed().broken
print(len(names), sorted(one.name for one in installed().dialects))
"""


def test_a_gateway_needs_none_of_the_command_lines_libraries() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    count, names = done.stdout.split(maxsplit=1)
    assert int(count) > 15
    assert "'classify', 'embed', 'ensemble', 'llmapi', 'rerank', 'vllm'" in names
