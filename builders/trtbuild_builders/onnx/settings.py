"""The settings of a recipe, and those of the served model: ``1/settings.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trtbuild.builder import Case
from trtbuild.modelspec import HeadKind
from trtbuild.recipe import engine_problems, raise_problems
from trtbuild.toolchain import onnx_runtime
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
MEANINGS = {
    **TEXT_MEANINGS,
    "accelerator": "runs the graph: tensorrt (compiles an engine for the GPU at the first start), "
    "openvino (a CPU); empty: ONNX Runtime's own kernels",
    "check": "compare the graph with the reference, and write nothing when they differ",
    "engine_cache": "directory in the container for TensorRT engines; mount a volume there",
    "opset": "of the exported graph",
    "quantize": "int8 (for CPUs) or fp16 (for GPUs); compared with the reference by wider limits",
    "token_budget": "tokens of one call of the graph, padding included; GPUs like 16384",
}
ARGUMENTS = arguments(
    DEFAULTS,
    positive=("instances", "max_batch_size", "opset", "token_budget"),
    choices={"accelerator": ("", "tensorrt", "openvino"), "quantize": ("", "fp16", "int8")},
)
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
    problems = list(engine_problems(given, ARGUMENTS))
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
    return {**DEFAULTS, **given}


def settings(case: Case) -> dict[str, Any]:
    """Return everything that the served model needs to know of its checkpoint."""
    own: dict[str, Any] = {
        "pooling": [],
        "core": core_name(case),
        "rows": rows(case),
        "output": _OUTPUTS.get(head_of(case).kind, "logits"),
    }
    return head_settings(case, engine(case), own)


def rows(case: Case) -> int:
    """Return how many texts one call of the graph has at most."""
    chosen = engine(case)
    most: int = chosen["max_batch_size"]
    return min(most, _ROWS) if chosen["accelerator"] == "tensorrt" else most


def core_name(case: Case) -> str:
    """Return the name of the model that runs the graph."""
    return f"{case.recipe.name}_core"
