"""The tables of ``templates/ensemble`` and ``templates/trtllm_engine``, read once."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from trtbuild.resources import core_module
from trtbuild_engine_flow.resources import template_dir


@cache
def wiring() -> Mapping[str, Any]:
    """Return tensors, files and parameters of the models around the engine, and their wiring."""
    return _read("ensemble", "tensors.toml")


def source_file(listed: str) -> Path:
    """Return the file to copy for an entry in a model's ``files``."""
    first, *rest = PurePosixPath(listed).parts
    return core_module(*rest) if first == "trtbuild" else template_dir("ensemble", first, *rest)


@cache
def engine_tensors() -> Mapping[str, list[dict[str, Any]]]:
    """Return the tensors of ``tensorrt_llm``."""
    return _read("trtllm_engine", "tensors.toml")


@cache
def profiles() -> Mapping[str, Mapping[str, tuple[Any, str]]]:
    """Return the value and reason of each setting, by profile."""
    found: dict[str, dict[str, tuple[Any, str]]] = {}
    for row in _read("trtllm_engine", "profiles.toml")["setting"]:
        for profile, chosen in row.items():
            if profile != "name":
                found.setdefault(profile, {})[row["name"]] = (chosen["value"], chosen["why"])
    return found


@cache
def families() -> Mapping[str, str]:
    """By architecture: the directory of TensorRT-LLM's examples whose converter takes it."""
    rows = _read("trtllm_engine", "families.toml")["family"]
    return {name: row["folder"] for row in rows for name in row["architectures"]}


def _read(*parts: str) -> dict[str, Any]:
    return tomllib.loads(template_dir(*parts).read_text(encoding="utf-8"))
