"""Suggest settings that fit if a plan does not; each suggestion is computed first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from trtbuild.hardware import GpuInfo, gpus
from trtbuild.modelspec import ModelSpec
from trtbuild.plan import Alternative
from trtbuild.toolchain import VllmRelease
from trtbuild_builders.memory import formulas
from trtbuild_builders.memory.load import INT4_BYTES, MemoryDemand, quantized_bytes

_STEP = 256  # suggested lengths are multiples of this
_FP8_SM = 89
MANY = 64  # maximum GPUs of a suggestion


@dataclass(frozen=True, slots=True)
class Names:
    """A builder's names of the suggested settings, by default vLLM's.

    An empty name means that it has no such setting. ``four_bit``: whether it loads AWQ and GPTQ
    checkpoints.
    """

    length: str = "max_model_len"
    sequences: str = "max_num_seqs"
    tensor: str = "tensor_parallel_size"
    cache_type: str = "kv_cache_dtype"
    quantization: str = "quantization"
    four_bit: bool = True


@dataclass(frozen=True, slots=True)
class Fit:
    """A load and its target. ``load_on`` is the same deployment with another GPU's defaults."""

    spec: ModelSpec
    load: MemoryDemand
    gpu: GpuInfo
    gpus: int
    release: VllmRelease | None
    load_on: Callable[[GpuInfo], MemoryDemand]
    names: Names = field(default_factory=Names)

    def fits(self, load: MemoryDemand, *, count: int | None = None) -> bool:
        """Whether ``load`` fits ``count`` of the GPUs."""
        usable = self.gpu.memory_bytes * load.utilization
        return load.world <= (count or self.gpus) and formulas.needed(self.spec, load) <= usable


def alternatives(fit: Fit) -> tuple[Alternative, ...]:
    """Return what would fit, the smallest change first; each was computed to fit."""
    spread = list(_spread(fit))
    found = spread + [suggestion for find in _FINDERS for suggestion in find(fit)]
    if not spread:
        found += [*_more_gpus(fit), *_bigger_gpu(fit)]
    return tuple(found)


def tensor_sizes(spec: ModelSpec, limit: int) -> list[int]:
    """Return sizes that divide the attention heads and divide or multiply the KV heads."""
    kv = spec.num_kv_heads or 1
    return [
        size
        for size in range(1, min(limit, max(spec.num_attention_heads, 1)) + 1)
        if spec.num_attention_heads % size == 0 and (kv % size == 0 or size % kv == 0)
    ]


def _spread(fit: Fit) -> Iterator[Alternative]:
    """Suggest more of the available GPUs, as few as suffice."""
    sizes = tensor_sizes(fit.spec, fit.gpus // fit.load.pipeline)
    larger = [size for size in sizes if size > fit.load.tensor]
    whole = [size for size in larger if fit.fits(replace(fit.load, tensor=size))]
    for size in whole[:1] or larger[-1:]:
        load = replace(fit.load, tensor=size)
        text = f"split the model over {load.world} of the GPUs"
        yield from _settled(fit, load, text, {fit.names.tensor: size})


def _largest(fits: Callable[[int], bool], low: int, high: int) -> int:
    """Return the largest of ``low..high`` that fits, 0 if none; smaller ones must fit too."""
    if high < low or not fits(low):
        return 0
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _longest(fit: Fit, load: MemoryDemand) -> int:
    """Return the largest ``max_model_len`` below the current one that fits, 0 if none."""
    units = _largest(
        lambda count: fit.fits(replace(load, max_model_len=count * _STEP)),
        -(-load.length // _STEP),
        (load.max_model_len - 1) // _STEP,
    )
    return units * _STEP


def _settled(
    fit: Fit, load: MemoryDemand, text: str, settings: dict[str, str | int]
) -> Iterator[Alternative]:
    """Return ``load``, with a shorter longest sequence if only that is too long."""
    if fit.fits(load):
        yield Alternative(text, settings)
    elif best := _longest(fit, load):
        yield Alternative(
            f"{text}, and limit contexts to {best:,} tokens",
            {**settings, fit.names.length: best},
        )


def _promise_less(fit: Fit) -> Iterator[Alternative]:
    """Suggest a shorter longest sequence, with the same load."""
    if best := _longest(fit, fit.load):
        yield Alternative(f"limit contexts to {best:,} tokens", {fit.names.length: best})


def _fewer(fit: Fit) -> Iterator[Alternative]:
    """Suggest fewer concurrent sequences; the others wait."""

    def with_count(count: int) -> MemoryDemand:
        return replace(fit.load, concurrency=count, max_seqs=count)

    def fits(count: int) -> bool:
        load = with_count(count)
        return fit.fits(load) or bool(_longest(fit, load))

    best = _largest(fits, 1, fit.load.concurrency - 1)
    if best:
        text = f"serve {best} sequence{'s' * (best > 1)} at once and let the others wait"
        yield from _settled(fit, with_count(best), text, {fit.names.sequences: best})


def _shorter(fit: Fit) -> Iterator[Alternative]:
    """Suggest shorter sequences, with the same concurrency."""

    def fits(units: int) -> bool:
        length = units * _STEP
        return fit.fits(replace(fit.load, length=length, max_model_len=length))

    best = _largest(fits, 1, (fit.load.length - 1) // _STEP) * _STEP
    if best:
        yield Alternative(
            f"keep {fit.load.concurrency} sequences and shorten them to {best:,} tokens",
            {fit.names.length: best},
        )


def _smaller_cache(fit: Fit) -> Iterator[Alternative]:
    """Suggest an 8-bit KV cache."""
    if fit.names.cache_type and fit.gpu.sm >= _FP8_SM and fit.load.kv_element > 1:
        load = replace(fit.load, kv_element=1.0)
        text = "store the KV cache in 8 bits"
        yield from _settled(fit, load, text, {fit.names.cache_type: "fp8"})


def _fp8(fit: Fit, load: MemoryDemand) -> MemoryDemand | None:
    """Return the load with weights in FP8, None if that is impossible."""
    known = fit.release is None or "fp8" in fit.release.quantization
    if fit.spec.quantization is not None or fit.gpu.sm < _FP8_SM or not known:
        return None
    smaller = quantized_bytes(fit.spec, 1.0, load.element)
    return replace(load, weight_bytes=smaller) if smaller < load.weight_bytes else None


def _fp8_weights(fit: Fit) -> Iterator[Alternative]:
    """Suggest quantizing weights to FP8 while loading, on as few GPUs as possible."""
    if not fit.names.quantization:
        return
    for size in tensor_sizes(fit.spec, fit.gpus // fit.load.pipeline):
        load = _fp8(fit, replace(fit.load, tensor=size)) if size >= fit.load.tensor else None
        if load is None:
            continue
        settings: dict[str, str | int] = {fit.names.quantization: "fp8"}
        text = "quantize the weights to FP8 while loading"
        if size > fit.load.tensor:
            settings[fit.names.tensor] = size
            text += f", split over {load.world} GPUs"
        found = list(_settled(fit, load, text, settings))
        if found:
            yield found[0]
            return


def _int4_weights(fit: Fit) -> Iterator[Alternative]:
    """Suggest a checkpoint quantized to four bits: another source, not a setting."""
    if fit.spec.quantization is not None or not fit.names.four_bit:
        return
    load = replace(fit.load, weight_bytes=quantized_bytes(fit.spec, INT4_BYTES))
    if load.weight_bytes < fit.load.weight_bytes:
        text = "use an AWQ or GPTQ (4-bit) checkpoint of this model as SOURCE"
        yield from _settled(fit, load, text, {})


def _more_gpus(fit: Fit) -> Iterator[Alternative]:
    """Suggest more GPUs of this kind."""
    for size in tensor_sizes(fit.spec, MANY):
        load = replace(fit.load, tensor=size)
        if load.world > fit.gpus and fit.fits(load, count=load.world):
            yield Alternative(
                f"use {load.world} x {fit.gpu.title} (--gpus {load.world})",
                {fit.names.tensor: size},
            )
            return


def _bigger_gpu(fit: Fit) -> Iterator[Alternative]:
    """Suggest the smallest GPU on which it fits unchanged."""
    found = smallest_gpu(fit.spec, fit.load_on)
    if found:
        count = f"{fit.load.world} x " if fit.load.world > 1 else ""
        yield Alternative(f"use {count}{found.title} (--gpu {found.name})", {})


def smallest_gpu(spec: ModelSpec, load_on: Callable[[GpuInfo], MemoryDemand]) -> GpuInfo | None:
    """Return the known GPU with the least memory that fits the load."""
    for gpu in gpus():
        load = load_on(gpu)
        if gpu.memory_bytes * load.utilization >= formulas.needed(spec, load):
            return gpu
    return None


_FINDERS = (
    _promise_less,
    _fewer,
    _shorter,
    _smaller_cache,
    _fp8_weights,
    _int4_weights,
)
