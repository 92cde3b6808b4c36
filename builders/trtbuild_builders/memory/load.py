"""The numbers of a deployment that determine its memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from packaging.version import Version

from trtbuild.hardware import GpuInfo
from trtbuild.modelspec import ModelSpec
from trtbuild.toolchain import VllmRelease

GIB = 2**30
DEFAULT_CONCURRENCY = 16
DEFAULT_LENGTH = 4096
DEFAULT_UTILIZATION = 0.9

_ELEMENT_BYTES = {"float32": 4.0, "float": 4.0, "float64": 4.0}  # everything else runs in 16 bits
_KV_BYTES = {"fp8": 1.0, "int8": 1.0, "int4": 0.5, "fp4": 0.5, "nvfp4": 0.5625, "float32": 4.0}
# Bytes a linear weight takes after vLLM has quantised a 16-bit checkpoint while loading it.
ONLINE_QUANTIZATION = {
    "fp8": 1.0,
    "fp8_per_tensor": 1.0,
    "fp8_per_block": 1.0,
    "fp8_per_channel": 1.0,
    "experts_int8": 1.0,
    "int8_per_channel_weight_only": 1.0,
    "mxfp8": 33 / 32,  # a scale byte for 32 weights
    "bitsandbytes": 0.5 + 4 / 64,  # NF4: a float32 scale for 64 weights
}
# AWQ and GPTQ, groups of 128: four bits, plus a 16-bit scale and 4-bit zero point per group.
INT4_BYTES = 0.5 + 2.5 / 128


@dataclass(frozen=True, slots=True)
class MemoryDemand:
    """What one deployment needs of its GPUs.

    Attributes:
        tensor: Tensor parallel size.
        pipeline: Pipeline parallel size.
        utilization: Share of a GPU's memory the engine may take.
        weight_bytes: All weights as loaded, over all GPUs.
        element: Bytes of the type it computes in.
        kv_element: Bytes of one KV-cache element.
        concurrency: Concurrent sequences wanted.
        length: Tokens of each (prompt and answer).
        max_model_len: The longest sequence that the engine accepts; 0 if unknown or automatic.
        batched_tokens: Maximum tokens of one step.
        max_seqs: Maximum sequences of one step.
        graphs: Whether CUDA graphs are captured.
        offloaded: Bytes of weights a GPU keeps in host memory.
    """

    tensor: int
    pipeline: int
    utilization: float
    weight_bytes: float
    element: float
    kv_element: float
    concurrency: int
    length: int
    max_model_len: int
    batched_tokens: int
    max_seqs: int
    graphs: bool
    offloaded: float = 0.0

    @property
    def world(self) -> int:
        """The number of GPUs."""
        return self.tensor * self.pipeline


def load_of(
    spec: ModelSpec,
    engine: Mapping[str, Any],
    release: VllmRelease | None,
    gpu: GpuInfo | None,
    *,
    concurrency: int | None = None,
    length: int | None = None,
) -> MemoryDemand:
    """Derive a deployment from the spec and the engine arguments, with the release's defaults."""
    element = _ELEMENT_BYTES.get(str(engine.get("dtype", "auto")), 2.0)
    max_len = engine.get("max_model_len") or spec.context_length
    max_len = spec.context_length if max_len < 0 else max_len
    typical = DEFAULT_LENGTH + _image_tokens(spec)
    wanted = length or min(typical, max_len or typical)
    default_share = release.default("gpu_memory_utilization") if release else None
    share = engine.get("gpu_memory_utilization", default_share or DEFAULT_UTILIZATION)
    tokens, seqs = _step_limits(engine, release, gpu, max_len)
    return MemoryDemand(
        tensor=engine.get("tensor_parallel_size", 1),
        pipeline=engine.get("pipeline_parallel_size", 1),
        utilization=share,
        weight_bytes=_weights(spec, engine, element),
        element=element,
        kv_element=_kv_element(spec, engine, element, release),
        concurrency=concurrency or DEFAULT_CONCURRENCY,
        length=min(wanted, max_len) if max_len else wanted,
        max_model_len=0 if engine.get("max_model_len") == -1 else max_len,
        batched_tokens=tokens,
        max_seqs=seqs,
        graphs=not engine.get("enforce_eager", False),
        offloaded=engine.get("cpu_offload_gb", 0) * GIB,
    )


def _image_tokens(spec: ModelSpec) -> int:
    """Return the tokens of an image in a typical request: of the largest one, up to a limit that
    few photographs and pages reach."""
    largest = spec.vision.image_tokens if spec.vision else 0
    return min(largest, DEFAULT_LENGTH)


def _weights(spec: ModelSpec, engine: Mapping[str, Any], element: float) -> float:
    if spec.quantization is not None:
        return float(spec.weight_bytes)
    method = str(engine.get("quantization") or "")
    if method in ONLINE_QUANTIZATION:
        return quantized_bytes(spec, ONLINE_QUANTIZATION[method], element)
    return spec.parameters * element  # cast to the computing type while loading


def quantized_bytes(spec: ModelSpec, bytes_per_weight: float, element: float = 2.0) -> float:
    """Return weight bytes with linear layers at ``bytes_per_weight``, embedding and head as stored.

    Both are counted as ``vocab * hidden`` even if they share one tensor, so the result is an
    upper bound.
    """
    kept = min(2 * spec.vocab_size * spec.hidden_size, spec.parameters)
    return kept * element + (spec.parameters - kept) * bytes_per_weight


def _kv_element(
    spec: ModelSpec, engine: Mapping[str, Any], element: float, release: VllmRelease | None
) -> float:
    kind = str(engine.get("kv_cache_dtype") or "auto")
    if kind == "auto" and spec.quantization:
        kind = str(spec.quantization.detail.get("kv_cache_quant_algo") or "auto").lower()
        if release and kind.startswith("int"):
            kind = "auto"  # vLLM uses the computing type for unknown values
    for prefix, size in _KV_BYTES.items():
        if kind.startswith(prefix):
            return size
    return element if kind == "auto" else 2.0


def _step_limits(
    engine: Mapping[str, Any], release: VllmRelease | None, gpu: GpuInfo | None, max_len: int
) -> tuple[int, int]:
    """Return the engine's default tokens and sequences of one step for a server.

    Source: vLLM's ``EngineArgs.get_batch_defaults`` and its predecessors: 8192 tokens and 1024
    sequences from 70 GiB on (not on an A100), 16384 from 160 GiB on in newer releases, else
    2048 and 256. Before chunked prefill became the default (0.8) a step held a whole prompt.
    """
    tokens, seqs = 2048, 256
    if gpu and gpu.memory_bytes >= 70 * GIB and not gpu.name.startswith("a100"):
        tokens, seqs = 8192, 1024
    newest = release is None or Version(release.version) >= Version("0.24.0")
    if gpu and gpu.memory_bytes >= 160 * GIB and newest:
        tokens = 16384
    if release and Version(release.version) < Version("0.8.0"):
        tokens, seqs = max(2048, min(max_len, 32768)), 256
    seqs = engine.get("max_num_seqs") or seqs
    return engine.get("max_num_batched_tokens") or max(tokens, seqs), seqs
