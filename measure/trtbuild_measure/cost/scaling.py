"""Throughput that is predicted, over ways to spread a model on GPUs.

A prediction is the roofline's bound at the batch that the memory holds, times an efficiency that
measured systems reach. It is there to choose what to measure, not to be believed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trtbuild.hardware import GpuInfo
from trtbuild.modelspec import ModelSpec
from trtbuild_measure.cost.model import Mix
from trtbuild_measure.roofline import Device, Workload, decode_step, prefill

EFFICIENCY = 0.5
"""Of the bound. TensorRT-LLM's published Llama-3.3-70B, FP8, TP2, 1000/1000 tokens (2,587 output
tokens/s a GPU on H200, 2,209 on H100) is 0.50 and 0.54 of the bound computed here."""

_MEMORY_SHARE = 0.9
_MOST_SEQUENCES = 256
_TP_COST = 0.08  # of the step for each doubling: two all-reduces a layer over NVLink
_TP_COST_PCIE = 0.25


@dataclass(frozen=True, slots=True)
class ParallelLayout:
    """One way to spread the model.

    ``sequences`` is 0 where it does not fit; then nothing else is meant.
    """

    tensor: int
    pipeline: int
    sequences: int
    output_tokens_per_s: float
    ttft_ms: float
    bound_by: str

    @property
    def gpus(self) -> int:
        """GPUs of it."""
        return self.tensor * self.pipeline


def weight_bytes(spec: ModelSpec, dtype: str) -> float:
    """Bytes as served: as stored for ``auto``, else cast."""
    return {"auto": float(spec.weight_bytes), "fp8": 1.0 * spec.parameters}.get(
        dtype, 2.0 * spec.parameters
    )


def layouts(
    spec: ModelSpec, gpu: GpuInfo, mix: Mix, dtype: str = "auto"
) -> Iterator[ParallelLayout]:
    """TP 1, 2, 4, 8 and PP 1, 2 where the heads and layers can be divided."""
    for tensor in (1, 2, 4, 8):
        for pipeline in (1, 2):
            if spec.num_attention_heads % tensor == 0 and spec.num_layers >= pipeline:
                yield predict(spec, gpu, mix, dtype, tensor=tensor, pipeline=pipeline)


def predict(
    spec: ModelSpec,
    gpu: GpuInfo,
    mix: Mix,
    dtype: str = "auto",
    *,
    tensor: int = 1,
    pipeline: int = 1,
) -> ParallelLayout:
    """Throughput under full load; ``dtype`` fp8 computes and caches in eight bits.

    The time of a request's share: its prefill, and its decode steps of the whole batch divided
    among the batch. Stages of a pipeline work at once on parts of the batch, so bandwidth and FLOPS
    add up over all GPUs; tensor parallelism costs communication in each step.
    """
    gpus = tensor * pipeline
    work = Workload(spec, weight_bytes(spec, dtype), 1.0 if dtype == "fp8" else 2.0)
    free = gpu.memory_bytes * gpus * _MEMORY_SHARE - work.weight_bytes
    each = max(spec.kv_cache.bytes_per_sequence(mix.input + mix.output, work.kv_element), 1)
    sequences = min(int(free // each), _MOST_SEQUENCES) if free > 0 else 0
    if sequences < 1:
        return ParallelLayout(tensor, pipeline, 0, 0.0, 0.0, "memory")
    device = _device(gpu, tensor, gpus, dtype)
    step = decode_step(work, device, sequences, mix.input + mix.output // 2)
    first = prefill(work, device, mix.input)
    per_request = first.seconds + mix.output * step.seconds / sequences
    rate = mix.output / per_request * EFFICIENCY
    ttft = first.seconds * pipeline / EFFICIENCY * 1e3
    return ParallelLayout(tensor, pipeline, sequences, rate, ttft, step.bound_by)


def _device(gpu: GpuInfo, tensor: int, gpus: int, dtype: str) -> Device:
    doublings = tensor.bit_length() - 1
    cost = _TP_COST_PCIE if gpu.nvlink == "none" else _TP_COST
    share = 1 / (1 + cost * doublings)
    eight_bits = gpu.tflops.get("fp8") if dtype == "fp8" else None
    flops = (
        eight_bits
        or gpu.tflops.get("bfloat16")
        or gpu.tflops.get("float16")
        or max(gpu.tflops.values())
    )
    return Device(
        gpu.title, gpu.bandwidth_bytes * gpus * share, flops * 1e12 * gpus * share, gpu.source
    )
