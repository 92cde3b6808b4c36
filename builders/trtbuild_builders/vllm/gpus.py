"""What vLLM cannot do on a GPU, and what works worse there."""

from __future__ import annotations

from collections.abc import Iterator

from trtbuild.builder import Case
from trtbuild.hardware import GpuInfo
from trtbuild.modelspec import ModelSpec
from trtbuild.recipe import ModelRecipe
from trtbuild.toolchain import Toolchain, vllm_release
from trtbuild_builders.gpus import capability, interconnect, kind_of, precision

# vLLM's names of methods whose least compute capability its own classes state.
_CAPABILITY_NAMES = {
    "awq": ("awq_marlin", "auto_awq", "awq"),
    "gptq": ("gptq_marlin", "auto_gptq", "gptq"),
    "nvfp4": ("modelopt_fp4",),
}
# Compute capability from which the tensor cores compute in the method's own type; below it the
# weights are expanded on the fly (Marlin kernels): memory is saved, arithmetic is not.
_NATIVE_SM = {"fp8": 89, "fbgemm_fp8": 89, "mxfp8": 100, "mxfp4": 100, "nvfp4": 100}
# CUDA that first compiles for a compute capability, and that first drops it.
_CUDA_SINCE = {90: (11, 8), 100: (12, 8), 120: (12, 8), 103: (12, 9), 121: (12, 9)}
_CUDA_UNTIL = {70: (13, 0)}


def gpu_reasons(case: Case) -> Iterator[str]:
    """Why vLLM will not load the model on the target's GPU."""
    spec, toolchain, gpu = case.spec, case.toolchain, case.target.gpu
    if gpu is None or spec.quantization is None or not toolchain.vllm:
        return
    known = vllm_release(toolchain.vllm).min_capability
    kind = kind_of(spec.quantization)
    found = [known[name] for name in _CAPABILITY_NAMES.get(kind, (kind,)) if name in known]
    if found and gpu.sm < min(found):
        yield (
            f"{kind} needs compute capability {capability(min(found))} in vLLM {toolchain.vllm}, "
            f"{gpu.title} has {capability(gpu.sm)}: it will not load"
        )


def own_warnings(case: Case) -> Iterator[str]:
    """What works worse than a user may expect, on this release and on the target's GPU."""
    recipe, tools = case.recipe, case.toolchain
    if "vllm" in tools.unconfirmed:
        yield (
            f"that Triton {tools.triton} carries vLLM {tools.vllm} is not confirmed by the "
            "server's documentation: check the image before you rely on it"
        )
    yield from precision(case)
    if recipe.metrics and recipe.engine.get("disable_log_stats"):
        yield "disable_log_stats leaves Triton's metrics of this model empty"
    gpu = case.target.gpu
    if gpu is not None:
        yield from _architecture(tools, gpu)
        yield from _dtype(case.spec, recipe, gpu)
        yield from _native(case.spec, gpu)
        yield from interconnect(case)


def _cuda(toolchain: Toolchain) -> tuple[int, ...]:
    return tuple(int(part) for part in toolchain.vllm_cuda.split(".")[:2])


def _architecture(toolchain: Toolchain, gpu: GpuInfo) -> Iterator[str]:
    cuda = _cuda(toolchain)
    since, until = _CUDA_SINCE.get(gpu.sm), _CUDA_UNTIL.get(gpu.sm)
    if cuda and since and cuda < since:
        yield (
            f"{gpu.title} needs CUDA {_dotted(since)}, Triton {toolchain.triton} has "
            f"{toolchain.vllm_cuda}: use a newer --triton"
        )
    if cuda and until and cuda >= until:
        yield (
            f"CUDA {_dotted(until)} dropped {gpu.title} (compute capability {capability(gpu.sm)}) "
            f"and Triton {toolchain.triton} has {toolchain.vllm_cuda}: use --triton 25.07 or older"
        )


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _dtype(spec: ModelSpec, recipe: ModelRecipe, gpu: GpuInfo) -> Iterator[str]:
    wanted = recipe.engine.get("dtype", "auto")
    wanted = spec.dtype if wanted == "auto" else wanted
    if wanted == "bfloat16" and gpu.sm < 80:
        yield (
            f"{gpu.title} has no bfloat16 (compute capability {capability(gpu.sm)}, 8.0 is "
            "needed) and vLLM will refuse to start: --set dtype=half"
        )


def _native(spec: ModelSpec, gpu: GpuInfo) -> Iterator[str]:
    if spec.quantization is None:
        return
    method = kind_of(spec.quantization)
    if gpu.sm < _NATIVE_SM.get(method, 0):
        yield (
            f"{gpu.title} does not compute in {method}: weights stay small, but are expanded to "
            f"16 bits for every product (native from {capability(_NATIVE_SM[method])} on)"
        )
