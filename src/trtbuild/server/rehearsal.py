"""Rehearsal: stand-ins for TensorRT-LLM that run the real checkpoint on the CPU.

The repository stays unchanged, byte for byte. The server gets a backend directory in which
``tensorrtllm`` is our Python-based backend and ``import tensorrt_llm`` finds our package. A file
outside the repository, named by :data:`VARIABLE`, tells both where the checkpoints are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trtbuild.files import disk_trouble
from trtbuild.server.contents import Contents

VARIABLE = "TRTBUILD_REHEARSAL"
FOLDER = "rehearsal"

# Exact text needs float32: in 16 bits a CPU rounds differently from a GPU anyway.
_ENGINE: Mapping[str, Any] = {"dtype": "float32", "enforce_eager": True}


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The stand-ins of one server.

    Attributes:
        checkpoints: By Triton model, the files of its checkpoint by name. A model of the LLM API
            that is not named here runs the weights that its own ``model.yaml`` names.
        engine: vLLM engine arguments that override those of the stand-ins.
        backends: Stand-ins for whole backends by name: each a directory with a ``model.py``.
    """

    checkpoints: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)
    engine: Mapping[str, Any] = field(default_factory=dict)
    backends: Mapping[str, Path] = field(default_factory=dict)

    @property
    def weight_bytes(self) -> int:
        """Return the bytes of the checkpoints that are not in the repository."""
        files = {path for found in self.checkpoints.values() for path in found.values()}
        return sum(path.stat().st_size for path in files)


def write(rehearsal: Rehearsal, folder: Path) -> Path:
    """Create ``folder`` with a directory of links for each checkpoint; return the stand-ins' file.

    The file is JSON: ``{"models": {NAME: {"checkpoint": DIRECTORY}}, "engine": {…}}``.
    """
    models = {}
    with disk_trouble(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, files in rehearsal.checkpoints.items():
            checkpoint = folder / "checkpoints" / name
            for relative, path in files.items():
                link = checkpoint / relative
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(path.resolve())
            models[name] = {"checkpoint": str(checkpoint)}
        document = {"models": models, "engine": {**_ENGINE, **rehearsal.engine}}
        path = folder / "rehearsal.json"
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return path


def rehearsed(contents: Contents) -> tuple[str, ...]:
    """Return what is real in a rehearsal, one sentence each."""
    names = ", ".join(sorted(contents.trtllm))
    return (
        "Triton itself: configurations, tensors, batching, ensembles, streaming, cancellation",
        f"the checkpoints of {names}, computed by vLLM on the CPU in float32",
    )


def not_rehearsed(contents: Contents) -> tuple[str, ...]:
    """Return what a rehearsal does not test, one sentence each."""
    kinds = set(contents.trtllm.values())
    what = ["no TensorRT kernel ran: speed, GPU memory, numbers in 16 or fewer bits"]
    if "tensorrtllm" in kinds:
        what.append("no engine file was opened: whether it loads on the target GPU and release")
    if "llmapi" in kinds:
        what.append("TensorRT-LLM's own start: its LLM() arguments beyond lengths and batch sizes")
    what.append("more than one GPU: tensor, pipeline and expert parallelism, MPI")
    return tuple(what)
