"""Whether a GPU's generation can run what a checkpoint's weights are stored in."""

from __future__ import annotations

from collections.abc import Iterator

from trtbuild.errors import UnsupportedError
from trtbuild.hardware import GpuInfo
from trtbuild.modelspec import ModelSpec, Quantization
from trtbuild.toolchain import TRTLLM_LEAST_SM, Toolchain, trtllm_route, vllm_release

_MODELOPT = {"FP8": "fp8", "NVFP4": "nvfp4", "MXFP8": "mxfp8"}
# vLLM's names of methods whose least compute capability its own classes state.
_CAPABILITY_NAMES = {
    "awq": ("awq_marlin", "auto_awq", "awq"),
    "gptq": ("gptq_marlin", "auto_gptq", "gptq"),
    "nvfp4": ("modelopt_fp4",),
}


def require_able(spec: ModelSpec, toolchain: Toolchain, gpu: GpuInfo, *, image: str) -> None:
    """UnsupportedError when the engine of ``image`` will not load the model on ``gpu``."""
    engines = {toolchain.trtllm_image: _tensorrt_llm, toolchain.vllm_image: _vllm}
    found = engines.get(image) if image else None
    reasons = tuple(found(spec, toolchain, gpu)) if found else ()
    if reasons:
        raise UnsupportedError(
            f"{gpu.title} cannot run {spec.source.text}",
            where=spec.source.text,
            details=reasons,
            fix="choose another GPU (--gpu), another --backend, or a checkpoint in a number format "
            "that it runs",
        )


def capability(sm: int) -> str:
    """``8.9`` for 89."""
    return f"{sm // 10}.{sm % 10}"


def kind_of(quantization: Quantization) -> str:
    """The number format, which ModelOpt says by its algorithm."""
    if quantization.method == "modelopt":
        algorithm = str(quantization.detail.get("quant_algo", "FP8")).upper()
        return _MODELOPT.get(algorithm, "modelopt")
    return quantization.method


def _vllm(spec: ModelSpec, toolchain: Toolchain, gpu: GpuInfo) -> Iterator[str]:
    if spec.quantization is None or not toolchain.vllm:
        return
    known = vllm_release(toolchain.vllm).min_capability
    kind = kind_of(spec.quantization)
    found = [known[name] for name in _CAPABILITY_NAMES.get(kind, (kind,)) if name in known]
    if found and gpu.sm < min(found):
        yield (
            f"{kind} needs compute capability {capability(min(found))} in vLLM {toolchain.vllm}, "
            f"{gpu.title} has {capability(gpu.sm)}: it will not load"
        )


def _tensorrt_llm(spec: ModelSpec, toolchain: Toolchain, gpu: GpuInfo) -> Iterator[str]:
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
