"""How many token ids a model takes and which of them end a text, as the files beside it state."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trtbuild.check.context import Model
from trtbuild_rules.readers.named_directories import NamedDirectory
from trtbuild_rules.readers.served import local_folder
from trtbuild_rules.readers.tokenizing import settings


def vocabulary_sizes(model: Model, folder: NamedDirectory) -> Iterator[tuple[int, str]]:
    """How many ids a model takes, and who says so: the checkpoint, or the engine of its group."""
    config = settings(folder.path, model.repository.root, "config.json")
    if size := _size(config) or _size(config.get("text_config")):
        yield size, "config.json"
    for path in _engine_folders(model):
        engine = settings(path, model.repository.root, "config.json")
        if size := _size(engine.get("pretrained_config")):
            yield size, "the engine"


def _size(config: Any) -> int:
    size = config.get("vocab_size") if isinstance(config, dict) else None
    return size if isinstance(size, int) and size > 0 else 0


def _engine_folders(model: Model) -> Iterator[Path]:
    """The engines of the models that trtbuild wrote together with this one."""
    lock = model.repository.lock
    owner = lock.owner(model.name)
    for directory in lock.models[owner].directories if owner else ():
        other = model.repository.find(directory)
        if other is None or other.backend != "tensorrtllm":
            continue
        path = local_folder(other, other.filled().get("gpt_model_path", ""))
        if path is not None and path.is_dir():
            yield path


def end_ids(model: Model, folder: NamedDirectory) -> tuple[set[int], set[int], set[int]]:
    """The end ids of config.json, of generation_config.json, and those that count."""
    root = model.repository.root
    config = _ids(settings(folder.path, root, "config.json").get("eos_token_id"))
    generation = _ids(settings(folder.path, root, "generation_config.json").get("eos_token_id"))
    return config, generation, generation or config


def _ids(value: Any) -> set[int]:
    items = value if isinstance(value, list) else [value]
    return {item for item in items if isinstance(item, int) and not isinstance(item, bool)}


def shown(ids: set[int]) -> str:
    """Ids in order, with commas."""
    return ", ".join(map(str, sorted(ids)))
