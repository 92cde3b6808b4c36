"""Estimate what compiling an engine needs, before it starts."""

from __future__ import annotations

from dataclasses import dataclass

from trtbuild.errors import BuildError

_GIB = 1 << 30
# Python, CUDA's context and TensorRT's own libraries and tactics, for each worker.
_PROCESS_BYTES = 3 * _GIB
# Free beside the weights, for TensorRT's workspace and the timing of kernels.
_GPU_SPARE_BYTES = 2 * _GIB


@dataclass(frozen=True, slots=True)
class Estimate:
    """The bytes that a build needs: host memory, memory of one GPU, disk."""

    host: int
    gpu: int
    disk: int


def estimate(weight_bytes: int, world: int, workers: int) -> Estimate:
    """Estimate from the weights in the engine's type.

    A worker has its rank's weights twice, as loaded and in the serialised engine; the GPU has them
    once while kernels are timed. The disk needs space for the checkpoint and the engine.
    """
    rank = -(-weight_bytes // world)
    at_once = max(1, min(workers, world))
    return Estimate(
        host=at_once * (2 * rank + _PROCESS_BYTES),
        gpu=rank + _GPU_SPARE_BYTES,
        disk=2 * weight_bytes,
    )


def require_memory(needed: Estimate, *, host: int, gpu: int, workers: int) -> None:
    """Raise BuildError if ``needed`` is more than this machine has; 0 is unknown and passes."""
    problems = []
    if host and needed.host > host:
        problems.append(
            f"about {needed.host / _GIB:.1f} GiB of host memory are needed and "
            f"{host / _GIB:.1f} GiB are available"
        )
    if gpu and needed.gpu > gpu:
        problems.append(
            f"about {needed.gpu / _GIB:.1f} GiB of one GPU are needed and it has {gpu / _GIB:.1f}"
        )
    if problems:
        less = "build one rank after another (--set workers=1), " if workers > 1 else ""
        raise BuildError(
            f"the build would run out of memory: {problems[0]}",
            details=tuple(problems[1:]),
            fix=f"{less}split it over more GPUs (--set tensor_parallel_size=N), build on a larger "
            "machine, or try all the same (--force)",
        )
