"""What runs the graph in ONNX Runtime: ``optimization { execution_accelerators }``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trtbuild.builder import Case
from trtbuild_builders.onnx.settings import core_name, engine, is_images, rows
from trtbuild_builders.text.settings import head_of

_ON_CPU = [{"kind": "KIND_CPU", "count": 1}]
_USUAL = (32, 128)  # texts and tokens that TensorRT chooses its kernels for
_LONGEST = 512  # tokens of a profile for a model without a limit


def accelerated(case: Case, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of config.pbtxt for the recipe's accelerator and number format."""
    chosen = engine(case)
    if chosen["accelerator"] == "tensorrt":
        named: dict[str, Any] = {"name": "tensorrt", "parameters": _tensorrt(case, inputs)}
        return {
            "optimization": {"execution_accelerators": {"gpu_execution_accelerator": [named]}},
            "instance_group": [{"kind": "KIND_GPU", "count": 1}],
        }
    if chosen["accelerator"] == "openvino":
        found = {"cpu_execution_accelerator": [{"name": "openvino"}]}
        return {"optimization": {"execution_accelerators": found}, "instance_group": _ON_CPU}
    return {"instance_group": _ON_CPU} if chosen["quantize"] == "int8" else {}


def _tensorrt(case: Case, inputs: Mapping[str, Any]) -> dict[str, str]:
    """Return parameters with a profile for every input.

    Without a profile TensorRT builds an engine for each new shape of a batch, and without a cache
    at each start.
    """
    chosen, most = engine(case), rows(case)
    longest = head_of(case).max_tokens or _LONGEST
    sizes = {
        "min": (1, 1),
        "opt": (min(_USUAL[0], most), min(_USUAL[1], longest)),
        "max": (most, longest),
    }
    profiles = {
        f"trt_profile_{which}_shapes": ",".join(
            f"{name}:{'x'.join(map(str, (items, *(shape if is_images(case) else [tokens]))))}"
            for name, shape in inputs.items()
        )
        for which, (items, tokens) in sizes.items()
    }
    half = {"precision_mode": "FP16", "trt_layer_norm_fp32_fallback": "1"}
    return {
        **(half if chosen["quantize"] == "fp16" else {"precision_mode": "FP32"}),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": f"{chosen['engine_cache']}/{core_name(case)}",
        **profiles,
    }
