"""Estimates of shared memory, memory and load time, each with the reason for its numbers."""

from __future__ import annotations

from collections.abc import Iterable

MIB, GIB = 1 << 20, 1 << 30

# Of the server, its Python stubs and a model's libraries, before any weight.
_SERVER_BYTES = 4 * GIB
# Of one rank: CUDA context, NCCL and pinned buffers on the host.
_RANK_BYTES = 4 * GIB

# From weights in memory to the first answer, by builder: vLLM compiles and captures CUDA graphs,
# TensorRT-LLM's LLM API tunes its kernels. Assumptions on the safe side, for a first deployment:
# `server.loadSeconds` takes the measured time.
_START_SECONDS = {
    "vllm": 240,
    "vllm-pooling": 180,
    "trtllm": 300,
    "trtllm-engine": 60,
    "torch": 60,
    "onnx": 30,
}
_OTHER_SECONDS = 60


def shm_bytes(python: int, *, ranks: int) -> int:
    """Return the size of ``/dev/shm``: Triton's Python backend takes 64 MiB for each instance
    (``python``, in bytes) and NCCL exchanges data between ranks there. Never less than 1 GiB:
    docker's 64 MiB stop the second instance."""
    return max(GIB, python + (GIB if ranks > 1 else 0))


def memory_bytes(weights: int, shm: int, *, ranks: int) -> int:
    """Return a memory limit in whole GiB. Weights count once: a loader reads each file through the
    page cache, and a model on the CPU keeps them. A full ``/dev/shm`` counts, too."""
    needed = _SERVER_BYTES + ranks * _RANK_BYTES + weights + shm
    return -(-needed // GIB) * GIB


def load_seconds(builders: Iterable[str], weights: int, bandwidth: int) -> int:
    """Return the seconds until every model answers, for ``bandwidth`` in bytes a second."""
    starts = (_START_SECONDS.get(builder, _OTHER_SECONDS) for builder in builders)
    return -(-weights // bandwidth) + max(starts, default=_OTHER_SECONDS)
