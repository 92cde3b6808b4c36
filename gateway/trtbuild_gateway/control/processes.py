"""CPU time and memory of a server's processes on this machine, by model.

The Python backend runs each instance of a model in a process of its own, with whatever an engine
starts below it. Models of other backends are in the server's process, so that only the whole is
known of them.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import Any

import psutil

_SERVER = "tritonserver"
_STUB = "triton_python_backend_stub"
_INSTANCE = re.compile(r"(.+)_\d+_\d+")  # MODEL_INSTANCE_DEVICE, one of a stub's arguments

Figures = dict[str, float]


def by_model(pid: int, models: Collection[str]) -> Mapping[str, Figures]:
    """Return ``processes``, ``cpu_seconds``, ``rss_bytes`` and, if NVML knows,
    ``gpu_memory_bytes`` of a server's processes.

    Args:
        pid: The server, or a process that started it.
        models: Names of its models.

    Returns:
        Sums by model, and under the empty name those of the whole server. Empty if no server is
        among the processes, as with one in a container. Shared pages count for each process.
    """
    server = _server(pid)
    if server is None:
        return {}
    memory = gpu_memory()
    everything = [server, *_children(server)]
    found = {"": _sum(everything, memory)}
    of_model: dict[str, list[psutil.Process]] = {}
    for process in everything:
        if name := _model_of(process, models):
            of_model.setdefault(name, []).extend([process, *_children(process)])
    return found | {name: _sum(processes, memory) for name, processes in of_model.items()}


def of_process(pid: int) -> Figures:
    """Return the same figures of a process and all that it has started."""
    try:
        first = psutil.Process(pid)
    except psutil.Error:
        return {}
    return _sum([first, *_children(first)], gpu_memory())


def _server(pid: int) -> psutil.Process | None:
    try:
        first = psutil.Process(pid)
        processes = [first, *first.children(recursive=True)]
        return next((one for one in processes if one.name() == _SERVER), None)
    except psutil.Error:
        return None


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def _model_of(process: psutil.Process, models: Collection[str]) -> str:
    """Return the model whose stub this is; empty for another process."""
    try:
        program, *arguments = process.cmdline() or [""]
    except psutil.Error:
        return ""
    if not program.endswith(_STUB):
        return ""
    matches = (_INSTANCE.fullmatch(argument) for argument in arguments)
    names = (match[1] for match in matches if match)
    return next((name for name in names if name in models), "")


def _sum(processes: Iterable[psutil.Process], memory: Mapping[int, int]) -> Figures:
    found: Figures = {"processes": 0, "cpu_seconds": 0.0, "rss_bytes": 0}
    for process in processes:
        with contextlib.suppress(psutil.Error), process.oneshot():
            times = process.cpu_times()
            found["rss_bytes"] += process.memory_info().rss
            found["cpu_seconds"] += times.user + times.system
            found["processes"] += 1
            if process.pid in memory:
                used = found.get("gpu_memory_bytes", 0)
                found["gpu_memory_bytes"] = used + memory[process.pid]
    return found


def gpu_memory() -> Mapping[int, int]:
    """Return the bytes of GPU memory that NVML reports of each process; empty without NVML."""
    library = _nvml()
    found: dict[int, int] = {}
    if library is None:
        return found
    try:
        for index in range(library.nvmlDeviceGetCount()):
            handle = library.nvmlDeviceGetHandleByIndex(index)
            for process in library.nvmlDeviceGetComputeRunningProcesses(handle):
                if process.usedGpuMemory is not None:  # None where the driver does not tell
                    found[process.pid] = found.get(process.pid, 0) + process.usedGpuMemory
    except Exception:  # NVML's error classes are in a module that may be missing
        return {}
    return found


@cache
def _nvml() -> Any:
    try:
        library: Any = importlib.import_module("pynvml")
        library.nvmlInit()
    except Exception:  # no module, no driver, or no GPU
        return None
    return library
