"""What will work worse, or not at all, on the GPU and the release that were chosen."""

from __future__ import annotations

from collections.abc import Iterator

from trtbuild.hardware import GpuInfo
from trtbuild.modelspec import ModelSpec
from trtbuild.planner.generation import capability, kind_of
from trtbuild.recipe import ModelRecipe
from trtbuild.toolchain import BLS_FIXED, Toolchain, advisories_as_of, advisories_of, safe_since

# Compute capability from which the tensor cores compute in the method's own type; below it the
# weights are expanded on the fly (Marlin kernels): memory is saved, arithmetic is not.
_NATIVE_SM = {"fp8": 89, "fbgemm_fp8": 89, "mxfp8": 100, "mxfp4": 100, "nvfp4": 100}
# CUDA that first compiles for a compute capability, and that first drops it.
_CUDA_SINCE = {90: (11, 8), 100: (12, 8), 120: (12, 8), 103: (12, 9), 121: (12, 9)}
_CUDA_UNTIL = {70: (13, 0)}


def warnings(
    spec: ModelSpec,
    recipe: ModelRecipe,
    toolchain: Toolchain,
    gpu: GpuInfo | None,
    gpus: int,
    *,
    image: str = "",
) -> tuple[str, ...]:
    """Sentences for a reader; none of them stops anything. ``image`` is what will serve."""
    found = [*_release(toolchain), *_checkpoint(spec, recipe), *_bls(recipe, toolchain)]
    if gpu is not None and image and image == toolchain.trtllm_image:
        found += _interconnect(recipe, gpu, gpus)
    elif gpu is not None:
        found += _architecture(toolchain, gpu)
        found += _dtype(spec, recipe, gpu)
        found += _native(spec, gpu)
        found += _interconnect(recipe, gpu, gpus)
    return tuple(found)


def _release(toolchain: Toolchain) -> Iterator[str]:
    known = [one for one in advisories_of("triton", toolchain.triton) if one.remote]
    if known:
        worst = max(known, key=lambda one: (one.score, one.published))
        yield (
            f"Triton {toolchain.triton} has known vulnerabilities that clients can use, such as "
            f"{worst.ids[0]} ({worst.what}): prefer --triton {safe_since('triton')} or newer "
            f"(as known on {advisories_as_of()})"
        )
    if "vllm" in toolchain.unconfirmed:
        yield (
            f"that Triton {toolchain.triton} carries vLLM {toolchain.vllm} is not confirmed by the "
            "server's documentation: check the image before you rely on it"
        )


def _checkpoint(spec: ModelSpec, recipe: ModelRecipe) -> Iterator[str]:
    yield from spec.notes
    converted = spec.source.kind in {"gguf", "sample"}
    plain = spec.quantization is None and "dtype" not in recipe.engine
    plain = plain and not recipe.engine_dir  # an engine that is there has its type
    if spec.dtype == "float32" and plain and not converted:
        yield (
            "the checkpoint is float32 and the engine will run it in 16 bits: "
            "--set dtype=float32 keeps it"
        )
    if recipe.metrics and recipe.engine.get("disable_log_stats"):
        yield "disable_log_stats leaves Triton's metrics of this model empty"


def _bls(recipe: ModelRecipe, toolchain: Toolchain) -> Iterator[str]:
    if recipe.engine.get("bls") and toolchain.triton < BLS_FIXED:
        yield (
            f"the BLS model can hang under load before Triton {BLS_FIXED} "
            "(triton-inference-server/server#8882): let clients ask the ensemble, or use a newer "
            "--triton"
        )


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


def _interconnect(recipe: ModelRecipe, gpu: GpuInfo, gpus: int) -> Iterator[str]:
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
