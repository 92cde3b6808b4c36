"""What a vLLM release accepts: engine arguments, architectures, quantization methods.

The tables (``data/vllm_engine_args/<version>.json``) are read out of vLLM's own sources by
``scripts/add_vllm_engine_args.py``; vLLM is never imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from packaging.version import Version

from trtbuild.errors import UsageError
from trtbuild.resources import data_file
from trtbuild.toolchain.arguments import ArgumentGroup, EngineArgument, arguments_of, groups_of

# Classes that vLLM makes of a language model since 0.10.1, which it has under another ending
# (`_SUFFIX_TO_DEFAULTS` of config/model.py, `_normalize_arch` of models/registry.py).
_MADE_OF = {"ForSequenceClassification": "classify", "Model": "embed"}
_LANGUAGE_MODELS = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")


@dataclass(frozen=True, slots=True)
class VllmRelease:
    """One vLLM release.

    Attributes:
        version: As the Triton image names it.
        extracted_from: The release that was read; another one if this is not on the registry.
        arguments: Engine arguments by name.
        groups: Object arguments that reject unknown keys, by dotted name.
        architectures: By task (generate, embed, rerank, classify, vision-language).
        quantization: Methods that it can load, by vLLM's names.
        min_capability: The minimum compute capability (89 is 8.9) of a method, where stated.
    """

    version: str
    extracted_from: str
    arguments: Mapping[str, EngineArgument]
    groups: Mapping[str, ArgumentGroup]
    architectures: Mapping[str, frozenset[str]]
    quantization: frozenset[str]
    min_capability: Mapping[str, int]

    def tasks_of(self, architecture: str) -> tuple[str, ...]:
        """Return the tasks for which this release serves ``architecture``; empty if unknown."""
        listed = tuple(task for task, names in self.architectures.items() if architecture in names)
        return listed or self._made_of_language_model(architecture)

    def _made_of_language_model(self, architecture: str) -> tuple[str, ...]:
        for ending, task in _MADE_OF.items():
            stem = architecture.removesuffix(ending)
            if stem != architecture and "runner" in self.arguments:
                made_of = {stem + other for other in _LANGUAGE_MODELS}
                has_one = any(made_of & names for names in self.architectures.values())
                return (task,) if has_one else ()
        return ()

    def default(self, argument: str) -> Any:
        """Return the literal default of an argument, None if unknown."""
        found = self.arguments.get(argument)
        return found.default if found else None


@cache
def vllm_versions() -> tuple[str, ...]:
    """Return every version with a table, oldest first."""
    names = [path.stem for path in data_file("vllm_engine_args").glob("*.json")]
    return tuple(sorted(names, key=Version))


@cache
def vllm_release(version: str) -> VllmRelease:
    """Return the tables of ``version``; UsageError names the known ones."""
    if version not in vllm_versions():
        known = ", ".join(vllm_versions())
        raise UsageError(f"no table for vLLM {version!r} is shipped", fix=f"use one of {known}")
    path = data_file("vllm_engine_args", f"{version}.json")
    table = json.loads(path.read_text(encoding="utf-8"))
    return VllmRelease(
        version=table["vllm"],
        extracted_from=table["extracted_from"],
        arguments=_with_methods(arguments_of(table["arguments"]), table["quantization"]),
        groups=groups_of(table["groups"]),
        architectures={task: frozenset(n) for task, n in table["architectures"].items()},
        quantization=frozenset(table["quantization"]),
        min_capability=table["min_capability"],
    )


def _with_methods(
    arguments: Mapping[str, EngineArgument], methods: Sequence[str]
) -> Mapping[str, EngineArgument]:
    """Let ``quantization`` be one of the methods, which vLLM compares in lower case."""
    argument = replace(arguments["quantization"], choices=tuple(sorted(methods)), fold=True)
    return {**arguments, "quantization": argument}


def engine_arguments(version: str) -> Mapping[str, EngineArgument]:
    """Return the engine arguments of a vLLM version, by name."""
    return vllm_release(version).arguments
