"""When it does not fit: settings that do, each computed again before it is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from trtbuild.hardware import GpuInfo, gpus
from trtbuild.memory import formulas
from trtbuild.memory.load import INT4_BYTES, Load, quantized_bytes
from trtbuild.modelspec import ModelSpec
from trtbuild.plan import Alternative
from trtbuild.toolchain import VllmRelease

_STEP = 256  # lengths are suggested in multiples of it
_FP8_SM = 89
MANY = 64  # as many GPUs as a suggestion ever names


@dataclass(frozen=True, slots=True)
class Fit:
    """What is to fit where. ``load_on`` is the same deployment with another GPU's defaults."""

    spec: ModelSpec
    load: Load
    gpu: GpuInfo
    gpus: int
    release: VllmRelease | None
    load_on: Callable[[GpuInfo], Load]

    def fits(self, load: Load, *, count: int | None = None) -> bool:
        """Whether ``load`` fits ``count`` of the GPUs."""
        usable = self.gpu.memory_bytes * load.utilization
        return load.world <= (count or self.gpus) and formulas.needed(self.spec, load) <= usable


def alternatives(case: Fit) -> tuple[Alternative, ...]:
    """What would fit, the least change first: nothing that was not computed to fit."""
    spread = list(_spread(case))
    found = spread + [suggestion for find in _FINDERS for suggestion in find(case)]
    if not spread:
        found += [*_more_gpus(case), *_bigger_gpu(case)]
    return tuple(found)


def tensor_sizes(spec: ModelSpec, limit: int) -> list[int]:
    """Sizes that divide the attention heads and divide or multiply the KV heads."""
    kv = spec.num_kv_heads or 1
    return [
        size
        for size in range(1, min(limit, max(spec.num_attention_heads, 1)) + 1)
        if spec.num_attention_heads % size == 0 and (kv % size == 0 or size % kv == 0)
    ]


def _spread(case: Fit) -> Iterator[Alternative]:
    """More of the GPUs that are there, as few as do."""
    sizes = tensor_sizes(case.spec, case.gpus // case.load.pipeline)
    larger = [size for size in sizes if size > case.load.tensor]
    whole = [size for size in larger if case.fits(replace(case.load, tensor=size))]
    for size in whole[:1] or larger[-1:]:
        load = replace(case.load, tensor=size)
        text = f"spread it over {load.world} of the GPUs"
        yield from _settled(case, load, text, {"tensor_parallel_size": size})


def _largest(fits: Callable[[int], bool], low: int, high: int) -> int:
    """The largest of ``low..high`` that fits, when smaller ones always do; 0 if none does."""
    if high < low or not fits(low):
        return 0
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _longest(case: Fit, load: Load) -> int:
    """The largest ``max_model_len`` below the present one with which ``load`` fits, 0 if none."""
    units = _largest(
        lambda count: case.fits(replace(load, max_model_len=count * _STEP)),
        -(-load.length // _STEP),
        (load.max_model_len - 1) // _STEP,
    )
    return units * _STEP


def _settled(
    case: Fit, load: Load, text: str, settings: dict[str, str | int]
) -> Iterator[Alternative]:
    """``load`` as it is or, when only its longest sequence is too long, with a shorter one."""
    if case.fits(load):
        yield Alternative(text, settings)
    elif best := _longest(case, load):
        yield Alternative(
            f"{text}, and promise contexts up to {best:,} tokens",
            {**settings, "max_model_len": best},
        )


def _promise_less(case: Fit) -> Iterator[Alternative]:
    """A shorter longest sequence, the wanted load untouched."""
    if best := _longest(case, case.load):
        yield Alternative(f"promise contexts up to {best:,} tokens", {"max_model_len": best})


def _fewer(case: Fit) -> Iterator[Alternative]:
    """Fewer sequences at once; the others wait."""

    def with_count(count: int) -> Load:
        return replace(case.load, concurrency=count, max_seqs=count)

    def fits(count: int) -> bool:
        load = with_count(count)
        return case.fits(load) or bool(_longest(case, load))

    best = _largest(fits, 1, case.load.concurrency - 1)
    if best:
        text = f"serve {best} sequence{'s' * (best > 1)} at once, the others wait"
        yield from _settled(case, with_count(best), text, {"max_num_seqs": best})


def _shorter(case: Fit) -> Iterator[Alternative]:
    """Shorter sequences, all of the wanted number."""

    def fits(units: int) -> bool:
        length = units * _STEP
        return case.fits(replace(case.load, length=length, max_model_len=length))

    best = _largest(fits, 1, (case.load.length - 1) // _STEP) * _STEP
    if best:
        yield Alternative(
            f"keep {case.load.concurrency} sequences and shorten all to {best:,} tokens",
            {"max_model_len": best},
        )


def _smaller_cache(case: Fit) -> Iterator[Alternative]:
    """The KV cache in 8 bits."""
    if case.gpu.sm >= _FP8_SM and case.load.kv_element > 1:
        load = replace(case.load, kv_element=1.0)
        text = "keep the KV cache in 8 bits"
        yield from _settled(case, load, text, {"kv_cache_dtype": "fp8"})


def _fp8(case: Fit, load: Load) -> Load | None:
    """The load with weights in FP8, None where that cannot be."""
    known = case.release is None or "fp8" in case.release.quantization
    if case.spec.quantization is not None or case.gpu.sm < _FP8_SM or not known:
        return None
    smaller = quantized_bytes(case.spec, 1.0, load.element)
    return replace(load, weight_bytes=smaller) if smaller < load.weight_bytes else None


def _fp8_weights(case: Fit) -> Iterator[Alternative]:
    """Weights quantised to FP8 while loading, on as few of the GPUs as hold them."""
    for size in tensor_sizes(case.spec, case.gpus // case.load.pipeline):
        load = _fp8(case, replace(case.load, tensor=size)) if size >= case.load.tensor else None
        if load is None:
            continue
        settings: dict[str, str | int] = {"quantization": "fp8"}
        text = "quantise the weights to FP8 while loading"
        if size > case.load.tensor:
            settings["tensor_parallel_size"] = size
            text += f", spread over {load.world} GPUs"
        found = list(_settled(case, load, text, settings))
        if found:
            yield found[0]
            return


def _int4_weights(case: Fit) -> Iterator[Alternative]:
    """A checkpoint quantised to four bits: another source, not a setting."""
    if case.spec.quantization is not None:
        return
    load = replace(case.load, weight_bytes=quantized_bytes(case.spec, INT4_BYTES))
    if load.weight_bytes < case.load.weight_bytes:
        text = "take an AWQ or GPTQ (4-bit) checkpoint of this model as SOURCE"
        yield from _settled(case, load, text, {})


def _more_gpus(case: Fit) -> Iterator[Alternative]:
    """More GPUs of this kind."""
    for size in tensor_sizes(case.spec, MANY):
        load = replace(case.load, tensor=size)
        if load.world > case.gpus and case.fits(load, count=load.world):
            yield Alternative(
                f"take {load.world} x {case.gpu.title} (--gpus {load.world})",
                {"tensor_parallel_size": size},
            )
            return


def _bigger_gpu(case: Fit) -> Iterator[Alternative]:
    """The smallest GPU on which it fits as it is."""
    found = smallest_gpu(case.spec, case.load_on)
    if found:
        count = f"{case.load.world} x " if case.load.world > 1 else ""
        yield Alternative(f"take {count}{found.title} (--gpu {found.name})", {})


def smallest_gpu(spec: ModelSpec, load_on: Callable[[GpuInfo], Load]) -> GpuInfo | None:
    """The known GPU of least memory that holds the load on each of its GPUs."""
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
