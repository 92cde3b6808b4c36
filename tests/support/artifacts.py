"""Repositories that are pushed, and the places they are pushed to."""

from __future__ import annotations

import random
from pathlib import Path

from trtbuild import lockfile
from trtbuild.files import digest
from trtbuild.lockfile import Lock, LockedFile, LockedModel
from trtbuild.modelspec import SourceRef

CONFIG = """backend: "python"
max_batch_size: 0
input { name: "a" data_type: TYPE_FP32 dims: 1 }
output { name: "b" data_type: TYPE_FP32 dims: 1 }
"""
MODEL = """class TritonPythonModel:
    def execute(self, requests):
        return []
"""
WEIGHTS = 1_300_000


def write_repository(root: Path, *names: str, weights: int = WEIGHTS) -> Path:
    """A repository of models with weights, which Triton would load, and its lock."""
    for name in names:
        files = {"config.pbtxt": CONFIG.encode(), "1/model.py": MODEL.encode()}
        files["1/weights.bin"] = random.Random(name).randbytes(weights)
        for path, content in files.items():
            file = root / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    lock_repository(root, *names)
    return root


def lock_repository(root: Path, *names: str) -> None:
    """Rewrite the lock, as a conversion would."""
    lockfile.write(root, Lock({name: _locked(root, name) for name in names}))


def _locked(root: Path, name: str) -> LockedModel:
    files = {
        path.relative_to(root).as_posix(): LockedFile(digest(path), path.stat().st_size)
        for path in sorted((root / name).rglob("*"))
        if path.is_file()
    }
    return LockedModel(
        SourceRef("local", name), "torch", "26.07", "image", f"key-{name}", (name,), files=files
    )
