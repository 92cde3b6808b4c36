"""The settings of a recipe, and those of the served model: ``1/settings.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trtbuild.builder import Case
from trtbuild.modelspec import HeadKind, Task
from trtbuild.recipe import engine_problems, raise_problems
from trtbuild.toolchain import EngineArgument, onnx_runtime
from trtbuild_builders.text.settings import (
    DEFAULTS as TEXT_DEFAULTS,
)
from trtbuild_builders.text.settings import (
    MEANINGS as TEXT_MEANINGS,
)
from trtbuild_builders.text.settings import arguments, head_of, head_settings

OPSET = 18
"""ONNX Runtime of every known Triton release reads it."""
DEFAULTS: Mapping[str, Any] = {
    **TEXT_DEFAULTS,
    "accelerator": "",
    "engine_cache": "/tmp/trtbuild-tensorrt",  # noqa: S108 - inside the container
    "opset": OPSET,
    "quantize": "",
}
_TEXTS_ONLY = ("token_budget", "truncate")
_IMAGE_DEFAULTS: Mapping[str, Any] = {
    **{name: value for name, value in DEFAULTS.items() if name not in _TEXTS_ONLY},
    "batch_size": 16,
    "max_batch_size": 64,
}
MEANINGS = {
    **TEXT_MEANINGS,
    "accelerator": "runs the graph: tensorrt (compiles an engine for the GPU at the first start), "
    "openvino (a CPU); empty: ONNX Runtime's own kernels",
    "batch_size": "images in one call of the graph",
    "check": "compare the graph with the reference, and write nothing when they differ",
    "engine_cache": "directory in the container for TensorRT engines; mount a volume there",
    "max_batch_size": "texts or images in one request, and of several requests together",
    "opset": "of the exported graph",
    "quantize": "int8 (for CPUs) or fp16 (for GPUs); compared with the reference by wider limits",
    "token_budget": "tokens of one call of the graph, padding included; GPUs like 16384",
}


def known_arguments(defaults: Mapping[str, Any]) -> Mapping[str, EngineArgument]:
    """Return what ``--set`` takes of settings with these defaults."""
    return arguments(
        defaults,
        positive=("batch_size", "instances", "max_batch_size", "opset", "token_budget"),
        choices={"accelerator": ("", "tensorrt", "openvino"), "quantize": ("", "fp16", "int8")},
    )


ARGUMENTS = known_arguments({**_IMAGE_DEFAULTS, **DEFAULTS})
"""Those of texts and of images."""
_APART = {
    ("int8", "tensorrt"): "int8 graphs are for ONNX Runtime's own CPU kernels",
    ("int8", "openvino"): "int8 graphs are for ONNX Runtime's own CPU kernels",
    ("fp16", "openvino"): "fp16 graphs are for GPUs",
}
_ROWS = 64  # in a TensorRT profile, whose memory grows with rows times length
_OUTPUTS = {
    HeadKind.DENSE: "embeddings",
    HeadKind.SPARSE: "sparse_embeddings",
    HeadKind.MULTI_VECTOR: "token_embeddings",
}


def engine(case: Case) -> Mapping[str, Any]:
    """Return the recipe's settings with defaults. Raises RecipeError with all problems."""
    given = case.recipe.engine
    defaults = _IMAGE_DEFAULTS if is_images(case) else DEFAULTS
    others = [name for name in given if name in ARGUMENTS and name not in defaults]
    own = {name: value for name, value in given.items() if name not in others}
    problems = list(engine_problems(own, known_arguments(defaults)))
    kind = "texts" if is_images(case) else "images"
    problems += [f"{name!r} is for models that take {kind}: leave it out" for name in others]
    runtime = onnx_runtime(case.toolchain.triton)
    opset = given.get("opset", OPSET)
    if runtime and isinstance(opset, int) and opset > runtime.opset:
        problems.append(
            f"'opset' {opset} is newer than ONNX Runtime {runtime.version} of Triton "
            f"{case.toolchain.triton} reads ({runtime.opset}): leave it out, or set {OPSET}"
        )
    pair = (given.get("quantize"), given.get("accelerator"))
    if pair in _APART:
        problems.append(
            f"'quantize' {pair[0]} and 'accelerator' {pair[1]}: {_APART[pair]}; leave one out"
        )
    raise_problems(
        problems,
        "engine settings of the builder onnx",
        "trtbuild toolchains RELEASE --arguments --backend onnx lists them",
    )
    return {**defaults, **given}


def is_images(case: Case) -> bool:
    """Whether the model labels images; any other takes texts."""
    return case.spec.task is Task.IMAGE_CLASSIFY


def settings(case: Case) -> dict[str, Any]:
    """Return everything that the served model needs to know of its checkpoint."""
    if is_images(case):
        return _image_settings(case)
    own: dict[str, Any] = {
        "pooling": [],
        "core": core_name(case),
        "rows": rows(case),
        "output": _OUTPUTS.get(head_of(case).kind, "logits"),
    }
    return head_settings(case, engine(case), own)


def _image_settings(case: Case) -> dict[str, Any]:
    head = head_of(case)
    return {
        "head": HeadKind.IMAGE_LABELS.value,
        "core": core_name(case),
        "output": "logits",
        "rows": rows(case),
        "labels": list(head.labels),
        "activation": head.activation,
    }


def rows(case: Case) -> int:
    """Return how many texts or images one call of the graph has at most."""
    chosen = engine(case)
    most: int = chosen["max_batch_size"]
    if is_images(case):
        return min(most, int(chosen["batch_size"]))
    return min(most, _ROWS) if chosen["accelerator"] == "tensorrt" else most


def core_name(case: Case) -> str:
    """Return the name of the model that runs the graph."""
    return f"{case.recipe.name}_core"
