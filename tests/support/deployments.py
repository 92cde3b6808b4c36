"""Repositories to deploy: a builder's golden files, and a lock that says who wrote them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.paths import TESTS
from trtbuild import lockfile
from trtbuild.errors import TrtbuildError
from trtbuild.lockfile import Lock, LockedFile, LockedModel
from trtbuild.modelspec import SourceRef

_IMAGES = {
    "vllm": "vllm-python-py3",
    "vllm-pooling": "vllm-python-py3",
    "torch": "vllm-python-py3",
    "trtllm": "trtllm-python-py3",
    "trtllm-engine": "trtllm-python-py3",
    "onnx": "py3",
}


def deployable(
    root: Path,
    builder: str = "vllm",
    case: str = "plain",
    *,
    release: str = "26.07",
    weights: int = 1 << 20,
    settings: dict[str, Any] | None = None,
) -> Path:
    """The repository of a golden case, as if it had ``weights`` bytes of weights."""
    repo = root / "model_repository"
    shutil.copytree(TESTS / "golden" / builder / case, repo)
    folders = tuple(sorted(path.name for path in repo.iterdir()))
    model = LockedModel(
        source=SourceRef("local", "llama"),
        builder=builder,
        triton=release,
        image=f"nvcr.io/nvidia/tritonserver:{release}-{_IMAGES[builder]}",
        key="key",
        directories=("llama", *(name for name in folders if name != "llama")),
        settings=settings or {},
        files={"llama/1/weights/model.safetensors": LockedFile("0" * 64, weights)},
    )
    lockfile.write(repo, Lock({"llama": model}))
    return repo


def refuses(written: Callable[[], object], said: str) -> None:
    """A target refuses what its contract cannot do, and says ``said``."""
    with pytest.raises(TrtbuildError) as caught:
        written()
    assert said in " ".join((caught.value.what, *caught.value.details))
    assert caught.value.exit_code == 4
