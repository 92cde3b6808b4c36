"""What a server needs to know of a repository before it starts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from trtbuild import lockfile, pbtxt
from trtbuild.errors import RepositoryError, UsageError
from trtbuild.signature import MOUNT, ServedModel, describe
from trtbuild.toolchain import vision_families

_ENGINE_FILES = ("model.json", "multi_lora.json")
# Next to a Python model: the arguments of TensorRT-LLM's LLM API.
LLM_API_FILE = "model.yaml"

EngineKind = Literal["tensorrtllm", "llmapi"]


@dataclass(frozen=True, slots=True)
class Contents:
    """What starting a server needs to know of a repository.

    Attributes:
        repo: Its absolute path.
        models: Names of its models.
        backends: The backends that the server must have, or ``ensemble``. A model may
            bring its own: a library beside its configuration or in a version.
        health_checked: Some model wants to be unloaded when its engine dies, which the server
            only does under explicit model control.
        images: The container images its lock file names.
        mounted_paths: Some engine file or parameter names files below :data:`MOUNT`.
        needs_hub: Some engine takes its weights from the hub.
        served: The description of each model whose configuration can be read.
        releases: The Triton releases its lock file names.
        trtllm: The models that run TensorRT-LLM, with how: a compiled engine or the LLM API.
    """

    repo: Path
    models: tuple[str, ...]
    backends: frozenset[str]
    health_checked: bool
    images: tuple[str, ...]
    mounted_paths: bool
    needs_hub: bool
    served: Mapping[str, ServedModel] = field(default_factory=dict)
    trtllm: Mapping[str, EngineKind] = field(default_factory=dict)
    releases: tuple[str, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """Variables that the families of its models need.

        Only the family's name is the repository's: a variable of its choice could run code.
        """
        named = {model.vision.family for model in self.served.values() if model.vision}
        families = (family for family in vision_families() if family.name in named)
        return {key: value for family in families for key, value in family.environment.items()}

    @property
    def llm(self) -> str:
        """The name of a model that generates text, ``""`` without one."""
        return next((name for name, model in self.served.items() if model.task.makes_text), "")


def read(repo: Path) -> Contents:
    """Read a repository; what cannot be parsed is left to validation and to the server.

    Raises:
        UsageError: There is no such directory.
        RepositoryError: It has no models.
    """
    if not repo.is_dir():
        raise UsageError(
            f"the model repository {str(repo)!r} does not exist",
            fix="create one: trtbuild convert SOURCE, or:  trtbuild up SOURCE",
        )
    repo = repo.resolve()
    folders = sorted(path for path in repo.iterdir() if path.is_dir())
    if not folders:
        raise RepositoryError(
            "the model repository has no model",
            where=str(repo),
            fix="add one: trtbuild convert SOURCE",
        )
    config_of = pbtxt.configs(repo)
    found = {folder: config for folder in folders if (config := config_of(folder.name)) is not None}
    configs = list(found.values())
    named = {
        config.backend or config.platform
        for folder, config in found.items()
        if not _brings_backend(folder, config)
    }
    kinds = {folder.name: _trtllm_kind(folder, config) for folder, config in found.items()}
    engines = [text for _, text in engine_files(repo)]
    weights = [*map(_model_of, engines), *_llm_api_models(repo)]
    lock = lockfile.read(repo)
    described = [
        (folder.name, describe(repo, folder.name, config_of, lock.card(folder.name)))
        for folder in found
    ]
    return Contents(
        repo=repo,
        models=tuple(folder.name for folder in folders),
        backends=frozenset(named) - {""},
        health_checked=any(_health_checked(config) for config in configs),
        releases=tuple(sorted({model.triton for model in lock.models.values()})),
        images=tuple(sorted({model.image for model in lock.models.values() if model.image})),
        mounted_paths=any(f'"{MOUNT}/' in text for text in engines)
        or any(names_mounted_path(config) for config in configs),
        needs_hub=any(model and not model.startswith("/") for model in weights),
        served={name: model for name, model in described if model is not None},
        trtllm={name: kind for name, kind in kinds.items() if kind},
    )


def names_mounted_path(config: Any) -> bool:
    """Whether a parameter of a model is a path below :data:`MOUNT`."""
    return any(row.string_value.startswith(f"{MOUNT}/") for row in config.parameters.values())


def engine_files(repo: Path) -> Iterator[tuple[Path, str]]:
    """Return the engine argument files of every version, with their text."""
    for name in _ENGINE_FILES:
        for path in filter(Path.is_file, sorted(repo.glob(f"*/*/{name}"))):
            try:
                yield path, path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue


def weight_bytes(contents: Contents) -> int:
    """Return the bytes of all weight files of the repository."""
    places = {contents.repo / model.weights for model in contents.served.values() if model.weights}
    files = (path for place in places for path in place.iterdir())
    return sum(path.stat().st_size for path in files if path.is_file())


def _brings_backend(folder: Path, config: Any) -> bool:
    library = config.runtime or f"libtriton_{config.backend}.so"
    places = (folder, *folder.glob("[0-9]*"))
    return library.endswith(".so") and any((place / library).is_file() for place in places)


def _trtllm_kind(folder: Path, config: Any) -> EngineKind | None:
    if config.backend == "tensorrtllm":
        return "tensorrtllm"
    if config.backend == "python" and any(folder.glob(f"*/{LLM_API_FILE}")):
        return "llmapi"
    return None


def _llm_api_models(repo: Path) -> Iterator[str]:
    """Return the weights that the ``model.yaml`` files of the LLM API name."""
    paths = list(filter(Path.is_file, sorted(repo.glob(f"*/*/{LLM_API_FILE}"))))
    if not paths:
        return
    import yaml

    for path in paths:
        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError, yaml.YAMLError):
            continue
        if isinstance(found, dict):
            yield str(found.get("model", ""))


def _health_checked(config: Any) -> bool:
    parameter = config.parameters.get("ENABLE_VLLM_HEALTH_CHECK")
    return parameter is not None and parameter.string_value.lower() == "true"


def _model_of(text: str) -> str:
    try:
        found = json.loads(text)
        return str(found.get("model", ""))
    except (ValueError, AttributeError, RecursionError):
        return ""
