"""What vLLM does not support on a GPU, and what runs worse there."""

from __future__ import annotations

from collections.abc import Iterator

from packaging.version import Version

from trtbuild.builder import Case
from trtbuild.hardware import GpuInfo, native_from
from trtbuild.modelspec import ModelSpec
from trtbuild.recipe import ModelRecipe
from trtbuild.toolchain import Toolchain, releases, vllm_release
from trtbuild_builders.gpus import capability, interconnect, kind_of, precision
from trtbuild_builders.vllm.pooler import POOLED

# vLLM's names of methods whose classes state a minimum compute capability.
_CAPABILITY_NAMES = {
    "awq": ("awq_marlin", "auto_awq", "awq"),
    "gptq": ("gptq_marlin", "auto_gptq", "gptq"),
    "nvfp4": ("modelopt_fp4",),
}


def gpu_reasons(case: Case) -> Iterator[str]:
    """Return why vLLM does not load the model on the target's GPU."""
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
    """Warn about what runs worse than expected on this release and on the target's GPU."""
    recipe, tools = case.recipe, case.toolchain
    if "vllm" in tools.unconfirmed:
        yield (
            f"that Triton {tools.triton} carries vLLM {tools.vllm} is not confirmed by the "
            "server's documentation: check the image before you rely on it"
        )
    if case.spec.task not in POOLED:  # those keep float32
        yield from precision(case)
    if recipe.metrics and recipe.engine.get("disable_log_stats"):
        yield "disable_log_stats leaves Triton's metrics of this model empty"
    gpu = case.target.gpu
    if gpu is not None:
        yield from _architecture(tools, gpu)
        yield from _dtype(case.spec, recipe, gpu)
        yield from _native(case.spec, gpu)
        yield from interconnect(case)


def _architecture(toolchain: Toolchain, gpu: GpuInfo) -> Iterator[str]:
    cuda, since, until = toolchain.vllm_cuda, gpu.cuda_since, gpu.cuda_until
    if cuda and since and Version(cuda) < Version(since):
        yield (
            f"{gpu.title} needs CUDA {since}, Triton {toolchain.triton} has {cuda}: use a newer "
            "--triton"
        )
    if cuda and until and Version(cuda) >= Version(until):
        earlier = (r for r in releases() if r.vllm_cuda and Version(r.vllm_cuda) < Version(until))
        last = max((release.triton for release in earlier), key=Version)
        yield (
            f"CUDA {until} dropped {gpu.title} (compute capability {capability(gpu.sm)}) and "
            f"Triton {toolchain.triton} has {cuda}: use --triton {last} or older"
        )


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
    least = native_from(method)
    if gpu.sm < least:
        yield (
            f"{gpu.title} does not compute in {method}: weights stay small, but are expanded to "
            f"16 bits for every product (native from {capability(least)} on)"
        )
