"""The machine and software versions that a result records."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import sys
from importlib import metadata
from pathlib import Path

import psutil

from trtbuild import __version__, hardware, process
from trtbuild_measure.bench.model import Json


def describe() -> Json:
    """Return machine, versions, commit and command."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["trtbuild", *sys.argv[1:]]),
        "trtbuild": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count() or 1,
        "memory_bytes": psutil.virtual_memory().total,
        "load_average_before": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "gpus": [gpu.name for gpu in hardware.detect()],
        "versions": {name: _version(name) for name in ("numpy", "tokenizers", "grpcio")},
    }


def _commit() -> str:
    """Return the commit checked out in the current directory, usually the one being measured."""
    found = process.run(["git", "rev-parse", "HEAD"], timeout=5)
    return found.stdout.strip() if found.ok else ""


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
