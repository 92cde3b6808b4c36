"""Read a description from a repository: config.pbtxt, the engine's arguments, the lock."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trtbuild.signature.dialects import recognize
from trtbuild.signature.model import ServedModel, ServedTask, Tensor
from trtbuild.signature.places import inside

ENGINE_FILES = ("model.json", "model.yaml")
_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "tiktoken.model", "tekken.json",
)  # fmt: skip


def describe(
    root: Path,
    name: str,
    config_of: Callable[[str], Any],
    card: ServedModel | None = None,
) -> ServedModel | None:
    """Describe the model ``name`` of the repository at ``root``; None if its config is unreadable.

    Args:
        root: The repository.
        name: The model, a directory of it.
        config_of: The parsed ``ModelConfig`` of a model by name, or None.
        card: The description that the conversion wrote into the lock. Tensors are always taken
            from the configuration, because that is what the server reads; context, head and a
            finer task come from the card.
    """
    config = config_of(name)
    if config is None:
        return None
    engine_file, engine = _engine(root, name)
    task, schema = recognize(
        (tensor.name for tensor in config.input),
        (tensor.name for tensor in config.output),
        backend=config.backend,
        pooling=_pools(engine),
    )
    tokenizer, weights = _places(root, name, config, engine, config_of)
    model = ServedModel(
        name=name,
        task=task,
        request_schema=schema,
        inputs=_tensors(config, config.input),
        outputs=_tensors(config, config.output),
        decoupled=_decoupled(config, config_of),
        max_batch_size=config.max_batch_size,
        context_length=_number(engine, "max_model_len", "max_seq_len"),
        tokenizer=tokenizer,
        weights=weights,
        engine_file=engine_file,
    )
    return model if card is None else with_card(model, card)


def with_card(model: ServedModel, card: ServedModel) -> ServedModel:
    """Add what the card has, unless the configuration was changed to another task since."""
    finer = model.task.makes_text and card.task.makes_text
    same = model.task == card.task or finer
    unknown = model.task is ServedTask.TENSOR and bool(card.request_schema)
    return replace(
        model,
        task=card.task if same or unknown else model.task,
        request_schema=card.request_schema if unknown else model.request_schema,
        context_length=model.context_length or card.context_length,
        tokenizer=model.tokenizer or card.tokenizer,
        weights=model.weights or card.weights,
        head=card.head if same or unknown else None,
        vision=card.vision if same or unknown else None,
    )


def with_files(root: Path, model: ServedModel) -> ServedModel:
    """Add what the engine's arguments in the repository say of a model that a server described."""
    engine_file, engine = _engine(root, model.name)
    weights = _first_directory(root, (inside(str(engine.get("model", ""))),))
    named = (inside(str(engine.get("tokenizer", ""))), weights)
    return replace(
        model,
        context_length=model.context_length or _number(engine, "max_model_len", "max_seq_len"),
        tokenizer=model.tokenizer or _with_tokenizer(root, named),
        weights=model.weights or weights,
        engine_file=model.engine_file or engine_file,
    )


def _tensors(config: Any, rows: Any) -> tuple[Tensor, ...]:
    names = config.DESCRIPTOR.fields_by_name["input"].message_type.fields_by_name["data_type"]
    # Text may have numbers without a name, and Triton loads them.
    types = {one.number: one.name.removeprefix("TYPE_") for one in names.enum_type.values}
    return tuple(
        Tensor(
            name=row.name,
            datatype=types.get(row.data_type, str(row.data_type)),
            dims=tuple(row.dims),
            optional=bool(getattr(row, "optional", False)),
        )
        for row in rows
    )


def _decoupled(config: Any, config_of: Callable[[str], Any]) -> bool:
    """Whether it is decoupled; an ensemble streams if one of its members does."""
    if config.model_transaction_policy.decoupled:
        return True
    members = (config_of(step.model_name) for step in config.ensemble_scheduling.step)
    return any(member and member.model_transaction_policy.decoupled for member in members)


def _engine(root: Path, name: str) -> tuple[str, Mapping[str, Any]]:
    """Return the newest version's engine arguments, with the file; empty without any."""
    for version in _versions(root / name):
        for file in ENGINE_FILES:
            path = version / file
            if path.is_file() and (engine := read_engine(path)):
                return path.relative_to(root).as_posix(), engine
    return "", {}


def read_engine(path: Path) -> Mapping[str, Any]:
    """Return an engine's arguments; empty if the file is unreadable or not an object."""
    try:
        value = _parsed(path) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _versions(directory: Path) -> list[Path]:
    try:
        found = [path for path in directory.iterdir() if path.name.isdecimal() and path.is_dir()]
    except OSError:
        return []
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def _parsed(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return json.loads(text)
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _pools(engine: Mapping[str, Any]) -> bool:
    return engine.get("runner") == "pooling" or engine.get("task") in ("embed", "embedding")


def _number(engine: Mapping[str, Any], *names: str) -> int:
    for name in names:
        value = engine.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return 0


def _places(
    root: Path,
    name: str,
    config: Any,
    engine: Mapping[str, Any],
    config_of: Callable[[str], Any],
) -> tuple[str, str]:
    """Return the directories of tokenizer and checkpoint relative to ``root``; empty: outside."""
    weights = _first_directory(root, (inside(str(engine.get("model", ""))),))
    named = (inside(str(engine.get("tokenizer", ""))), weights)
    parameters = _named_by_parameters(root, name, config, config_of)
    tokenizer = _with_tokenizer(root, (*named, *parameters))
    return tokenizer, weights


def _named_by_parameters(
    root: Path, name: str, config: Any, config_of: Callable[[str], Any]
) -> Iterator[str]:
    """Return ``tokenizer_dir`` of the model and of an ensemble's members. A relative one is below
    the version's directory, as our models read it; a hub id is not a directory there."""
    members = {name: config}
    members |= {s.model_name: config_of(s.model_name) for s in config.ensemble_scheduling.step}
    for member, each in members.items():
        if each is None or "tokenizer_dir" not in each.parameters:
            continue
        value = each.parameters["tokenizer_dir"].string_value
        if value.startswith("/"):
            yield inside(value)
        elif value and ".." not in value:
            for version in _versions(root / member):
                yield (version / value).relative_to(root).as_posix()


def _first_directory(root: Path, places: tuple[str, ...]) -> str:
    return next((place for place in places if place and (root / place).is_dir()), "")


def _with_tokenizer(root: Path, places: tuple[str, ...]) -> str:
    for place in places:
        if place and any((root / place / file).is_file() for file in _TOKENIZER_FILES):
            return place
    return ""
