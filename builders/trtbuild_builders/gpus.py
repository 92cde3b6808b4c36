"""GPU reasons and warnings that the builders of LLM engines share."""

from __future__ import annotations

from collections.abc import Iterator

from trtbuild.builder import Case
from trtbuild.modelspec import Quantization
from trtbuild.toolchain import TRTLLM_LEAST_SM, trtllm_route

_MODELOPT = {"FP8": "fp8", "NVFP4": "nvfp4", "MXFP8": "mxfp8"}


def capability(sm: int) -> str:
    """``8.9`` for 89."""
    return f"{sm // 10}.{sm % 10}"


def kind_of(quantization: Quantization) -> str:
    """Return the number format; for ModelOpt from its algorithm."""
    if quantization.method == "modelopt":
        algorithm = str(quantization.detail.get("quant_algo", "FP8")).upper()
        return _MODELOPT.get(algorithm, "modelopt")
    return quantization.method


def tensorrt_llm_reasons(case: Case) -> Iterator[str]:
    """Return why TensorRT-LLM does not load the model on the target's GPU."""
    spec, toolchain, gpu = case.spec, case.toolchain, case.target.gpu
    if gpu is None:
        return
    if gpu.sm < TRTLLM_LEAST_SM:
        least = capability(TRTLLM_LEAST_SM)
        yield (
            f"TensorRT-LLM {toolchain.trtllm} needs compute capability {least}, {gpu.title} has "
            f"{capability(gpu.sm)}: it will not start, use --backend vllm"
        )
    if spec.quantization is None:
        return
    route = trtllm_route(spec.quantization.method, spec.quantization.detail)
    if route.sm and gpu.sm not in route.sm:
        able = ", ".join(capability(sm) for sm in route.sm)
        yield (
            f"TensorRT-LLM runs {route.algorithm} on compute capabilities {able}, {gpu.title} has "
            f"{capability(gpu.sm)}: it will not load"
        )


def interconnect(case: Case) -> Iterator[str]:
    """Warn about requested GPUs that are missing or have a slow interconnect."""
    recipe, gpu, gpus = case.recipe, case.target.gpu, case.target.count
    if gpu is None:
        return
    tensor = recipe.engine.get("tensor_parallel_size", 1)
    world = tensor * recipe.engine.get("pipeline_parallel_size", 1)
    if world > gpus:
        yield f"the settings ask for {world} GPUs and there are {gpus}: the engine will not start"
    if tensor > 1 and gpu.nvlink != "board":
        joined = {"none": "has no NVLink", "bridge": "has NVLink only by a bridge between cards"}
        yield (
            f"{gpu.title} {joined[gpu.nvlink]}: tensor_parallel_size={tensor} sends every layer's "
            f"activations over PCIe{' where there is no bridge' * (gpu.nvlink == 'bridge')}"
        )


def precision(case: Case) -> Iterator[str]:
    """Warn about weights that lose precision because no type was chosen."""
    spec = case.spec
    converted = spec.source.kind in {"gguf", "sample"}
    plain = spec.quantization is None and "dtype" not in case.recipe.engine
    if spec.dtype == "float32" and plain and not converted:
        yield (
            "the checkpoint is float32 and the engine will run it in 16 bits: "
            "--set dtype=float32 keeps it"
        )
