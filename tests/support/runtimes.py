"""Runtimes that look installed, and what is said of them."""

from __future__ import annotations

import json
import shutil

from trtbuild.server import runtime
from trtbuild.server.runtime import facts
from trtbuild.server.runtime.facts import Interpreter, Runtime

GIB = 1 << 30


def fake_runtime(interpreter: Interpreter, variant: facts.Variant = "light") -> Runtime:
    """The files that make a runtime, as an installation leaves them; none of them works."""
    found = Runtime(facts.runtime_root(variant, interpreter.tag), variant, interpreter)
    python = found.server_home / "backends" / "python"
    files = [found.tritonserver, found.stub, python / "libtriton_python.so"]
    files += [python / "triton_python_backend_utils.py", found.python]
    for path in files:
        if path.exists():  # a venv's python is a link: copying to it would hit the real one
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("/bin/true", path)
    entries = sorted(path.name for path in found.site_packages.iterdir())
    record = {"entries": entries, "size_bytes": 5, "seconds": 1, "packages": ["numpy==1.26.4"]}
    (found.root / "ready.json").write_text(json.dumps(record))
    return found


def state(variant: facts.Variant = "light") -> runtime.RuntimeStatus:
    """What ``trtbuild runtime status`` says of a variant."""
    (found,) = runtime.status((variant,))
    return found
