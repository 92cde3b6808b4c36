"""``model.yaml`` of TensorRT-LLM's LLM API, with the place of every key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from trtbuild.check.context import Model
from trtbuild.located.positions import NOWHERE, Position

NAME = "model.yaml"


@dataclass(frozen=True, slots=True)
class YamlText:
    """A parsed YAML mapping, or the place and reason why it is none."""

    value: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    at: Position = NOWHERE
    keys: Mapping[str, Position] = field(default_factory=dict)
    repeated: tuple[tuple[str, Position], ...] = ()
    file: str = ""

    def of(self, key: str) -> Position:
        """Where a key stands, or else the nearest one around it: ``group.key`` is one below."""
        while key not in self.keys and "." in key:
            key = key.rpartition(".")[0]
        return self.keys.get(key, NOWHERE)


def llm_api_files(model: Model) -> Iterator[YamlText]:
    """The readable ``model.yaml`` of every version that would be loaded."""
    for text in all_files(model):
        if not text.problem:
            yield text


def all_files(model: Model) -> Iterator[YamlText]:
    """Every ``model.yaml``, also one that is none. Raises OSError for what may not be read."""
    if model.backend != "python":
        return
    memo, key = model.repository.memo, (NAME, model.name)
    if key not in memo:
        memo[key] = tuple(_read(model))
    yield from memo[key]


def _read(model: Model) -> Iterator[YamlText]:
    for version in model.served:
        file = f"{version}/{NAME}"
        try:
            yield read_yaml(model.read(file), file)
        except FileNotFoundError:
            continue


@lru_cache(maxsize=128)
def read_yaml(content: bytes, file: str) -> YamlText:
    """Parse bytes as one YAML mapping; never raises."""
    import yaml

    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return YamlText(problem="it is not UTF-8", file=file)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        at = Position(mark.line + 1, mark.column + 1) if mark else NOWHERE
        return YamlText(problem=error.problem or "it is not YAML", at=at, file=file)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return YamlText(problem=str(error) or "it is nested too deeply", file=file)
    if not isinstance(value, dict) or not isinstance(node, yaml.MappingNode):
        return YamlText(problem="it is no mapping", at=Position(1, 1), file=file)
    keys: dict[str, Position] = {}
    repeated: list[tuple[str, Position]] = []
    _collect(node, "", keys, repeated)
    return YamlText(
        {str(key): item for key, item in value.items()}, "", NOWHERE, keys, tuple(repeated), file
    )


def _collect(
    node: Any, prefix: str, keys: dict[str, Position], repeated: list[tuple[str, Position]]
) -> None:
    """Places of the keys of a mapping and of the mappings right inside it."""
    import yaml

    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        name = f"{prefix}{key.value}"
        at = Position(key.start_mark.line + 1, key.start_mark.column + 1, len(key.value))
        if name in keys:
            repeated.append((name, at))
        keys[name] = at
        if isinstance(value, yaml.MappingNode) and not prefix:
            _collect(value, f"{name}.", keys, repeated)
