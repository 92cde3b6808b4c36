"""How an engine release reads a checkpoint: its transformers, and its own classes.

The table (``data/transformers.json``) is read out of the wheels of vLLM and transformers by
``scripts/add_transformers.py``. An image may have a newer transformers than the oldest that its
engine accepts; only what the oldest one supports is certain.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from packaging.version import Version

from trtbuild.resources import data_file

_FIVE = Version("5.0.0")
_BEFORE_FIVE = Version("0.12.0")  # vLLM of 2025, when there was no transformers 5
_DTYPE = Version("4.56.0")  # the first that reads ``dtype``, which was ``torch_dtype``
_PAIRED_MERGES = Version("4.45.0")  # the first with tokenizers 0.20, which supports them
# The wrapper's class by task; before 0.8.4 it had another name.
_WRAPPERS = {
    "generate": ("TransformersForCausalLM", "TransformersModel"),
    "vision-language": ("TransformersMultiModalForCausalLM", "TransformersForMultimodalLM"),
    "embed": ("TransformersEmbeddingModel",),
    "classify": ("TransformersForSequenceClassification",),
}


_version = cache(Version)  # a survey of all releases compares the same ones thousands of times


@dataclass(frozen=True, slots=True)
class Reading:
    """How a release reads ``config.json`` and the tokenizer.

    Attributes:
        engine: Its name and version, for messages.
        transformers: The oldest release of transformers that it accepts.
        surely_four: Whether every image of it has a transformers older than 5.
        own_types: Values of ``model_type`` for which it has its own configuration classes.
        wrappers: Its classes that run transformers' modeling code.
        asks: How it checks whether a modeling class can be wrapped (``flag``, ``source``).
    """

    engine: str
    transformers: str
    surely_four: bool = False
    own_types: frozenset[str] = frozenset()
    wrappers: frozenset[str] = frozenset()
    asks: frozenset[str] = field(default_factory=frozenset)

    @property
    def maybe_four(self) -> bool:
        """Whether it reads, or may read, checkpoints with transformers 4."""
        return _version(self.transformers) < _FIVE

    @property
    def reads_dtype(self) -> bool:
        """Whether it reads the type of the weights from ``dtype``."""
        return _version(self.transformers) >= _DTYPE

    @property
    def reads_paired_merges(self) -> bool:
        """Whether the merges of ``tokenizer.json`` may be pairs instead of strings."""
        return _version(self.transformers) >= _PAIRED_MERGES

    def knows_type(self, model_type: str) -> bool:
        """Whether it has a configuration class for ``model_type`` without remote code."""
        return model_type in self.own_types or self._has("model_types", model_type)

    def nobody_knows(self, model_type: str) -> bool:
        """Whether even the newest transformers lacks a configuration class for it."""
        return model_type not in self.own_types and model_type not in _table()["model_types"]

    def knows_tokenizer(self, name: str) -> bool:
        """Whether transformers has the tokenizer class ``name``, fast or slow."""
        base = name.removesuffix("Fast")
        return self._has("tokenizers", base) or self._has("tokenizers", f"{base}Fast")

    def wrapper(self, architecture: str, task: str) -> str:
        """Return the class that runs transformers' code of ``architecture``; empty without one."""
        names = [name for name in _WRAPPERS.get(task, ()) if name in self.wrappers]
        able = self._way(architecture) in self.asks and not self.failure(architecture)
        if task == "vision-language":  # most of these have encoders or processors of their own
            able = able and self.tried(architecture)
        return names[0] if names and able else ""

    def tried(self, architecture: str) -> bool:
        """Whether transformers' code was tested to answer in a wrapper as it does alone."""
        return _tried().get(architecture) == "same"

    def failure(self, architecture: str) -> str:
        """Return how transformers' code of ``architecture`` fails in a wrapper, if known."""
        if self._way(architecture) == "stateful":
            return "its layers keep a state, which that code path does not support"
        outcome = _tried().get(architecture, "same")
        return "" if outcome == "same" else outcome

    def _has(self, table: str, name: str) -> bool:
        since, until = _table()[table].get(name, ("", ""))
        mine = _version(self.transformers)
        return bool(since) and _version(since) <= mine and self._before(until)

    def _before(self, until: str) -> bool:
        return not until or _version(self.transformers) < _version(until)

    def _way(self, architecture: str) -> str:
        row = _table()["architectures"].get(architecture, ("", "", {}))
        mine = _version(self.transformers)
        ways = [how for since, how in row[2].items() if _version(since) <= mine]
        return ways[-1] if ways else ""


@cache
def vllm_reading(version: str) -> Reading:
    """Return how a vLLM release reads checkpoints; KeyError without a row."""
    row = _table()["vllm"][version]
    older = Version(version) < _BEFORE_FIVE
    return Reading(
        f"vLLM {version}",
        row["transformers"],
        older or "<5," in row["requires"],
        frozenset(row["own_types"]),
        frozenset(row["wrappers"]),
        frozenset(row["asks"]),
    )


@cache
def trtllm_reading(version: str) -> Reading:
    """Return how a TensorRT-LLM release reads checkpoints; releases without a row are old."""
    rows: Mapping[str, str] = _table()["tensorrt-llm"]
    return Reading(f"TensorRT-LLM {version}", rows.get(version, min(rows.values())), True)


@cache
def transformers_architectures() -> Mapping[str, str]:
    """Return every text architecture of transformers, with its task."""
    return {name: row[0] for name, row in _table()["architectures"].items()}


@cache
def _tried() -> Mapping[str, str]:
    table = tomllib.loads(data_file("wrapped.toml").read_text(encoding="utf-8"))
    tried: Mapping[str, str] = table["tried"]
    return tried


@cache
def _table() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(data_file("transformers.json").read_text(encoding="utf-8"))
    return found
