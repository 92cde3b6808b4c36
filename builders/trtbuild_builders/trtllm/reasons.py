"""Why the LLM API in a given Triton release cannot serve a checkpoint: all reasons, with fixes."""

from __future__ import annotations

from collections.abc import Callable

from packaging.version import Version

from trtbuild import toolchain as toolchains
from trtbuild.modelspec import ModelSpec, Task
from trtbuild.recipe import ModelRecipe, engine_support
from trtbuild.toolchain import (
    Toolchain,
    TrtllmRelease,
    trtllm_release,
    trtllm_route,
    trtllm_versions,
)
from trtbuild_builders.common import consent, layout, onnx_only, source, spelling


def reasons(spec: ModelSpec, recipe: ModelRecipe, toolchain: Toolchain) -> tuple[str, ...]:
    """Return all reasons against the LLM API; empty if it can serve it."""
    if spec.weights_format == "onnx":
        return tuple(onnx_only(spec, "TensorRT-LLM"))
    support = engine_support(spec, toolchain, toolchain.trtllm_image)
    found = [
        *consent(recipe, support),
        *spelling(spec, recipe, support),
        *source(spec, recipe),
        *layout(spec),
    ]
    if not toolchain.trtllm:
        return (*found, f"Triton {toolchain.triton} has no TensorRT-LLM image: {_newest()}")
    if toolchain.trtllm not in trtllm_versions():
        return (
            *found,
            f"the LLM API of TensorRT-LLM {toolchain.trtllm} (Triton {toolchain.triton}) is not "
            f"one whose arguments are known here: {_newest()}",
        )
    release = trtllm_release(toolchain.trtllm)
    found += _task(spec)
    found += _architecture(spec, toolchain, release)
    found += _quantization(spec, toolchain, release)
    return tuple(found)


def _task(spec: ModelSpec) -> list[str]:
    if spec.task is Task.GENERATE:
        return []
    return [
        f"its Triton model takes text and gives text, and the checkpoint is for {spec.task.value}: "
        "use another builder (trtbuild builders SOURCE)"
    ]


def _architecture(spec: ModelSpec, toolchain: Toolchain, release: TrtllmRelease) -> list[str]:
    if spec.architecture in release.architectures:
        return []
    what = f"TensorRT-LLM {release.version} does not list the architecture {spec.architecture!r}"

    def lists(other: TrtllmRelease) -> bool:
        return spec.architecture in other.architectures

    return [f"{what}: {_others(lists, toolchain)}"]


def _quantization(spec: ModelSpec, toolchain: Toolchain, release: TrtllmRelease) -> list[str]:
    if spec.quantization is None:
        return []
    route = trtllm_route(spec.quantization.method, spec.quantization.detail)
    if route.refused:
        return [f"{route.refused}: use --backend vllm, or a ModelOpt export (trtbuild quantize)"]

    def loads(other: TrtllmRelease) -> bool:
        return not route.since or Version(other.version) >= Version(route.since)

    if loads(release):
        return []
    what = f"TensorRT-LLM {release.version} does not load {spec.quantization.method} exports"
    return [f"{what} ({route.algorithm}): {_others(loads, toolchain)}"]


def _newest() -> str:
    row = next(row for row in toolchains.releases() if row.trtllm in trtllm_versions())
    return f"use --triton {row.triton}"


def _others(suits: Callable[[TrtllmRelease], bool], toolchain: Toolchain) -> str:
    """Return which Triton release to use instead: the next newer one, else the next older."""
    known = trtllm_versions()
    rows = [
        row
        for row in toolchains.releases()
        if row.trtllm in known and suits(trtllm_release(row.trtllm))
    ]
    newer = [row for row in rows if row.triton > toolchain.triton]
    nearest = newer[-1] if newer else rows[0] if rows else None
    if nearest is None:
        return "nor does that of any Triton release known, use --backend vllm"
    return f"TensorRT-LLM {nearest.trtllm} does, use --triton {nearest.triton}"
