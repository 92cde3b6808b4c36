"""What a vLLM model directory serves, and where its weights are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtbuild import toolchain
from trtbuild.check.context import Model
from trtbuild.errors import UsageError
from trtbuild.located.text import LocatedText

if TYPE_CHECKING:
    from trtbuild.toolchain import Reading, VllmRelease

# The place of a repository in a container; generated files name their weights by it.
_MOUNTED = re.compile(r"/models/(?P<model>[^/]+)/(?P<version>\d+)(?:/(?P<rest>.+))?/?")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True, slots=True)
class ModelJson:
    """One version's ``model.json``. ``file`` is relative to the model's directory."""

    version: int
    file: str
    json: LocatedText
    settings: Mapping[str, Any]


def engines(model: Model) -> Iterator[ModelJson]:
    """The readable ``model.json`` of every version that would be loaded."""
    for version in model.served:
        file = f"{version}/model.json"
        text = model.json(file)
        if text is not None and isinstance(text.value, dict):
            yield ModelJson(version, file, text, text.value)


def release_of(model: Model) -> str:
    """The vLLM release that serves a model, empty when unknown."""
    locked = _locked(model, "vllm")
    if locked is not None:
        return locked
    try:
        row = toolchain.load(model.triton) if model.triton else toolchain.newest()
    except UsageError:
        return ""
    return row.vllm


def trtllm_release_of(model: Model) -> str:
    """The TensorRT-LLM release that serves a model, empty when unknown."""
    locked = _locked(model, "tensorrt-llm")
    if locked is not None:
        return locked
    try:
        return toolchain.load(model.triton).trtllm if model.triton else ""
    except UsageError:
        return ""


def _locked(model: Model, program: str) -> str | None:
    """The release in the lock; None for a model without one, or if a release was asked for."""
    lock = model.repository.lock
    owner = lock.owner(model.name)
    if not owner or model.repository.options.triton:
        return None
    return lock.models[owner].versions.get(program, "")


def reading_of(model: Model) -> Reading | None:
    """What the release reads the checkpoints of a model with, None where that is not known."""
    if model.backend == "vllm":
        release = release_of(model)
        return toolchain.vllm_reading(release) if release in toolchain.vllm_versions() else None
    release = trtllm_release_of(model)
    return toolchain.trtllm_reading(release) if release else None


@cache
def vllm_table(release: str) -> VllmRelease | None:
    """What a vLLM release accepts, None when no table of it is known."""
    try:
        return toolchain.vllm_release(release)
    except UsageError:
        return None


def local_folder(model: Model, value: str) -> Path | None:
    """Where ``/models/<name>/<version>/…`` is in this repository; None for any other value."""
    match = _MOUNTED.fullmatch(value)
    if match is None or ".." in value.split("/"):
        return None
    version = model.repository.root / match["model"] / match["version"]
    return version / match["rest"] if match["rest"] else version


def is_hub_id(value: str) -> bool:
    """Whether a value has the form of a Hugging Face id."""
    return bool(_HUB_ID.fullmatch(value)) and ".." not in value and not value.startswith(".")


def weights(model: Model) -> Iterator[tuple[ModelJson, Path]]:
    """Every checkpoint directory inside the repository that a version names and that is there."""
    for engine in engines(model):
        value = engine.settings.get("model")
        folder = local_folder(model, value) if isinstance(value, str) else None
        if folder is not None and folder.is_dir():
            yield engine, folder
