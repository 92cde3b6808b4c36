"""The device of a roofline: a GPU from the table, or this machine's CPU as measured."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from trtbuild.hardware import GpuInfo
from trtbuild_measure.roofline import Device

_BYTES = 64 * 2**20  # a thread; far more than the caches of any CPU it runs on
_SIDE = 1024
_SECONDS = 0.4


def of_gpu(gpu: GpuInfo, count: int, dtype: str) -> Device:
    """``count`` GPUs of the table, computing in ``dtype``.

    The table has the dense peaks of tensor cores. For a type that it does not have (float32) the
    bound is that of bfloat16, or of the slowest: above what can be, and the source says so.
    """
    used = dtype if dtype in gpu.tflops else "bfloat16"
    used = used if used in gpu.tflops else min(gpu.tflops, key=lambda one: gpu.tflops[one])
    source = gpu.source if used == dtype else f"{gpu.source}; peak of {used} for {dtype}"
    return Device(
        f"{count} x {gpu.title}",
        gpu.bandwidth_bytes * count,
        gpu.tflops[used] * 1e12 * count,
        source,
    )


def measure_cpu() -> Device:
    """Measure this machine's CPU: memory reads on all cores, and a float32 matrix product.

    A matrix-vector product reads its weights once. Other work on the machine lowers
    both figures, as it lowers the benchmark's.
    """
    threads = os.cpu_count() or 1
    return Device(f"{threads} CPU cores", _bandwidth(threads), _flops(), "measured on this machine")


def _bandwidth(threads: int) -> float:
    arrays = [np.ones(_BYTES // 8) for _ in range(threads)]

    def read(array: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
        until, start = time.perf_counter() + _SECONDS, time.perf_counter()
        count = 0
        while time.perf_counter() < until:
            array.max()
            count += 1
        return count * _BYTES / (time.perf_counter() - start)

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(read, arrays))


def _flops() -> float:
    one = np.ones((_SIDE, _SIDE), np.float32)
    one @ one  # the first call starts BLAS's threads
    best, until = 0.0, time.perf_counter() + _SECONDS
    while time.perf_counter() < until:
        start = time.perf_counter()
        one @ one
        best = max(best, 2 * _SIDE**3 / (time.perf_counter() - start))
    return best
