"""GPU memory and utilisation through NVML, if ``nvidia-ml-py`` and a driver are installed."""

from __future__ import annotations

import contextlib
import importlib
from functools import cache
from typing import Any


@cache
def _library() -> Any:
    try:
        library: Any = importlib.import_module("pynvml")
        library.nvmlInit()
    except Exception:  # NVML's error classes are in a module that may be missing
        return None
    return library


def sample() -> dict[str, float]:
    """Over all GPUs: ``gpu_memory_bytes`` together, ``gpu_utilization`` (0 to 1) of the busiest.

    Empty without a driver or a GPU, and if any GPU fails to answer, because a partial sum would be
    misleading. A partitioned GPU (MIG) reports memory but no utilisation.
    """
    library = _library()
    if library is None:
        return {}
    try:
        handles = [
            library.nvmlDeviceGetHandleByIndex(index)
            for index in range(library.nvmlDeviceGetCount())
        ]
        memory = sum(library.nvmlDeviceGetMemoryInfo(handle).used for handle in handles)
    except Exception:  # a GPU that falls off the bus must not end the measurement
        return {}
    found = {"gpu_memory_bytes": float(memory)} if handles else {}
    with contextlib.suppress(Exception):
        rates = [library.nvmlDeviceGetUtilizationRates(handle).gpu for handle in handles]
        if rates:
            found["gpu_utilization"] = max(rates) / 100
    return found
