"""The directories of Hugging Face files that a model of any backend names inside its repository."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trtbuild.check.context import Model
from trtbuild.check.reading import is_inside
from trtbuild.located.positions import Position
from trtbuild_rules.readers.modelyaml import llm_api_files
from trtbuild_rules.readers.served import engines, local_folder

TOKENIZER_DIR = "tokenizer_dir"


@dataclass(frozen=True, slots=True)
class NamedDirectory:
    """A directory that a model's files name.

    Attributes:
        path: Where it is, or should be.
        named_in: The file that names it, relative to the model's directory.
        key: What it is called there.
        value: As written.
        at: Where.
    """

    path: Path
    named_in: str
    key: str
    value: str
    at: Position

    def relative(self, model: Model, name: str = "") -> str:
        """A file in it, relative to the model's directory."""
        return Path(os.path.relpath(self.path / name, model.path)).as_posix()


def named_directories(model: Model) -> Iterator[NamedDirectory]:
    """Those that name a place inside the repository, once each, be they there or not."""
    seen: set[Path] = set()
    for folder in (*_of_engines(model), *_of_parameters(model)):
        inside = is_inside(folder.path, model.repository.root)
        if inside and folder.path not in seen:
            seen.add(folder.path)
            yield folder


def _of_engines(model: Model) -> Iterator[NamedDirectory]:
    """vLLM's ``model.json`` and the LLM API's ``model.yaml``."""
    if model.backend == "vllm":
        for engine in engines(model):
            for key in ("model", "tokenizer"):
                value = engine.settings.get(key)
                if isinstance(value, str) and (path := local_folder(model, value)):
                    yield NamedDirectory(path, engine.file, key, value, engine.json.of(key))
    for yaml in llm_api_files(model):
        for key in ("model", "tokenizer"):
            value = yaml.value.get(key)
            if isinstance(value, str) and (path := local_folder(model, value)):
                yield NamedDirectory(path, yaml.file, key, value, yaml.of(key))


def _of_parameters(model: Model) -> Iterator[NamedDirectory]:
    """``tokenizer_dir`` of the engine flow's models: relative ones lie in the version."""
    value = model.parameters().get(TOKENIZER_DIR, "")
    if not value or value.startswith("${"):
        return
    at = model.at_parameter(TOKENIZER_DIR)
    if (path := local_folder(model, value)) is not None:
        yield NamedDirectory(path, "config.pbtxt", TOKENIZER_DIR, value, at)
    elif not value.startswith("/") and ".." not in value.split("/"):
        for version in model.served:
            folder = model.path / str(version) / value
            yield NamedDirectory(folder, "config.pbtxt", TOKENIZER_DIR, value, at)
