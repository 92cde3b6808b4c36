"""``model.yaml`` of TensorRT-LLM's LLM API."""

from __future__ import annotations

from collections.abc import Iterator

from trtbuild.check.context import Model
from trtbuild.located.text import LocatedText

NAME = "model.yaml"


def llm_api_files(model: Model) -> Iterator[LocatedText]:
    """The readable ``model.yaml`` of every version that would be loaded."""
    for text in all_files(model):
        if not text.problem:
            yield text


def all_files(model: Model) -> Iterator[LocatedText]:
    """Every ``model.yaml``, including those that cannot be parsed.

    Raises:
        OSError: One may not be read.
    """
    if model.backend != "python":
        return
    memo, key = model.repository.memo, (NAME, model.name)
    if key not in memo:
        memo[key] = tuple(_read(model))
    yield from memo[key]


def _read(model: Model) -> Iterator[LocatedText]:
    from trtbuild_rules.readers.yamlfiles import read_yaml

    for version in model.served:
        file = f"{version}/{NAME}"
        try:
            yield read_yaml(model.read(file), file)
        except FileNotFoundError:
            continue
