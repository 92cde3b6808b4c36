"""The state of an installed runtime."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trtbuild import process
from trtbuild.errors import ServerError
from trtbuild.server.runtime import backends, facts
from trtbuild.server.runtime.facts import Interpreter, Runtime, State, Variant

READY = "ready.json"
INCOMPLETE = "incomplete"
_MODULES: Mapping[Variant, str] = {
    "full": "numpy, torch, vllm, tritonclient.grpc",
    "light": "numpy",
    "modelopt": "torch, transformers, modelopt.torch.quantization",
    "export": "torch, transformers, sentence_transformers, onnxscript, onnxruntime",
}


@dataclass(frozen=True, slots=True)
class RuntimeStatus:
    """The state of a runtime. ``size_bytes`` and ``seconds`` are those of its installation."""

    variant: Variant
    state: State
    path: Path
    python: str
    reason: str = ""
    size_bytes: int = 0
    seconds: float = 0.0
    packages: tuple[str, ...] = ()


def describe(variant: Variant, interpreter: Interpreter) -> RuntimeStatus:
    """Return the state of the runtime of these pins and this Python."""
    root = facts.runtime_root(variant, interpreter.tag)
    base = RuntimeStatus(variant, "missing", root, interpreter.version)
    if not root.exists():
        what = "" if variant in facts.SERVERS else f" {variant}"
        return replace(base, reason=f"run `trtbuild runtime install{what}`")
    if (root / INCOMPLETE).exists() or not (root / READY).is_file():
        return replace(base, state="incomplete", reason="its installation was interrupted")
    try:
        record: dict[str, Any] = json.loads((root / READY).read_bytes())
        missing = _missing(Runtime(root, variant, interpreter), record)
    except (ValueError, KeyError, OSError) as error:
        return replace(base, state="broken", reason=f"{READY} cannot be read ({error})")
    if missing:
        return replace(base, state="broken", reason=f"{missing} is missing")
    return replace(
        base,
        state="ready",
        size_bytes=int(record["size_bytes"]),
        seconds=float(record["seconds"]),
        packages=tuple(record["packages"]),
    )


def verify(runtime: Runtime) -> tuple[str, ...]:
    """Return what is wrong with an installed runtime, from its files and by importing; empty if OK.

    Takes about ten seconds with vLLM.
    """
    problems = list(_damaged_files(runtime.site_packages))
    if runtime.variant in facts.SERVERS:
        try:
            backends.check_stub(runtime.backends / "python" / runtime.stub.name, runtime)
        except ServerError as error:
            problems.append("; ".join((error.what, *error.details)))
    modules = _MODULES[runtime.variant]
    answer = process.run(
        [str(runtime.python), "-I", "-c", f"import {modules}"],
        timeout=180,
        env=backends.stub_environment(runtime),
    )
    if not answer.ok:
        problems.append(f"import {modules}: {(answer.stderr.strip().splitlines() or ['?'])[-1]}")
    return tuple(problems)


def _missing(runtime: Runtime, record: dict[str, Any]) -> str:
    """Return the first part of the installation that is missing."""
    serving = (runtime.tritonserver, runtime.stub) if runtime.variant in facts.SERVERS else ()
    for path in (runtime.python, *serving):
        if not path.exists():
            return str(path)
    if not runtime.site_packages.is_dir():
        return str(runtime.site_packages)
    present = {path.name for path in runtime.site_packages.iterdir()}
    gone = sorted(set(record["entries"]) - present)
    return str(runtime.site_packages / gone[0]) if gone else ""


def _damaged_files(site_packages: Path) -> Iterator[str]:
    """Return files of a package's RECORD that are missing or have another size."""
    for record in sorted(site_packages.glob("*.dist-info/RECORD")):
        for line in record.read_text(encoding="utf-8").splitlines():
            path, _, size = line.rsplit(",", 2)
            if path.endswith(".pyc"):
                continue
            found = site_packages / path.strip('"')
            if not found.is_file():
                yield f"{found} is missing"
            elif size and found.stat().st_size != int(size):
                yield f"{found} has {found.stat().st_size} bytes instead of {size}"
