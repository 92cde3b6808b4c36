"""What a TensorRT-LLM release's LLM API accepts: the arguments of ``LLM()`` and their groups.

The tables (``data/trtllm_llm_args/<version>.json``) are read out of TensorRT-LLM's own sources by
``scripts/add_trtllm_llm_args.py``; TensorRT-LLM is never imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from packaging.version import Version

from trtbuild.errors import UsageError
from trtbuild.resources import data_file
from trtbuild.toolchain.arguments import ArgumentGroup, EngineArgument, arguments_of, groups_of
from trtbuild.toolchain.trtllm_checks import architectures_of, checked, together, with_kinds


@dataclass(frozen=True, slots=True)
class TrtllmRelease:
    """The LLM API of one TensorRT-LLM release, PyTorch backend.

    Attributes:
        version: As the Triton image names it.
        extracted_from: The source that was read; another release if this one was unavailable.
        arguments: Of ``LLM()``, by name.
        groups: Those that are objects of known fields, by argument.
        architectures: Those that it loads from a Hugging Face checkpoint.
        together: Settings that require another one: name, the other's name, its value.
    """

    version: str
    extracted_from: str
    arguments: Mapping[str, EngineArgument]
    groups: Mapping[str, ArgumentGroup] = field(default_factory=dict)
    architectures: frozenset[str] = frozenset()
    together: tuple[tuple[str, str, str], ...] = ()


@cache
def trtllm_versions() -> tuple[str, ...]:
    """Return every version with a table, oldest first."""
    names = [path.stem for path in data_file("trtllm_llm_args").glob("*.json")]
    return tuple(sorted(names, key=Version))


@cache
def trtllm_release(version: str) -> TrtllmRelease:
    """Return the table of ``version``; UsageError names the known ones."""
    if version not in trtllm_versions():
        known = ", ".join(trtllm_versions())
        raise UsageError(
            f"no table for the LLM API of TensorRT-LLM {version!r} is shipped",
            fix=f"use one of {known}",
        )
    path = data_file("trtllm_llm_args", f"{version}.json")
    table = checked(json.loads(path.read_text(encoding="utf-8")))
    return TrtllmRelease(
        version=table["trtllm"],
        extracted_from=table["extracted_from"],
        arguments=arguments_of(table["arguments"]),
        groups=with_kinds(groups_of(table["groups"])),
        architectures=architectures_of(table),
        together=together(),
    )
