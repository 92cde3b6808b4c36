"""What a TensorRT-LLM checkpoint costs, beside copying the files and casting the numbers.

    python benchmarks/bench_checkpoint.py [--gb 0.5 | --full] [--folder DIR] [--json]

A Llama checkpoint in bfloat16 is made of random blocks (``--full``: 6.8 GB; twice that is needed
on the disk), copied with ``cp`` and fsync, cast in memory with numpy, and converted to float16
for two ranks. The goals: time at most 1.3 times that of ``cp`` plus the cast, at most 500 MB
resident; a 140 GB checkpoint planned from its headers within a second.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.checkpoints import (  # noqa: E402
    header_bytes,
    llama_config,
    llama_shapes,
    make_headers_only,
    write_json,
    write_tokenizer,
)

FULL_GB = 6.8
BLOCK = 1 << 22


@dataclass(frozen=True)
class Row:
    name: str
    seconds: float
    peak_mb: float
    beside: str
    ratio: float


def random_block() -> np.ndarray:
    """Normal values of deviation 0.02 as bfloat16 bit patterns, like weights."""
    values = np.random.default_rng(0).standard_normal(BLOCK, np.float32) * np.float32(0.02)
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def make_source(folder: Path, gigabytes: float, block: np.ndarray) -> int:
    """A checkpoint of Llama-3.2-3B's widths with as many layers as fit; returns its bytes."""
    sizes = {"hidden": 3072, "heads": 24, "kv_heads": 8, "intermediate": 8192, "vocab": 128256}
    if gigabytes < 3:
        sizes = {"hidden": 1024, "heads": 16, "kv_heads": 4, "intermediate": 4096, "vocab": 32000}
    one, two = (_bytes(llama_config(layers=n, dtype="bfloat16", **sizes)) for n in (1, 2))
    layers = max(round((gigabytes * 1e9 - one) / (two - one)) + 1, 2)
    config = llama_config(layers=layers, dtype="bfloat16", max_position_embeddings=8192, **sizes)
    shapes = llama_shapes(config)
    folder.mkdir(parents=True)
    write_json(folder / "config.json", config)
    write_tokenizer(folder)
    left = _bytes(config)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(header_bytes(shapes, "BF16"))
        while left:
            left -= file.write(memoryview(block).cast("B")[: min(left, block.nbytes)])
    return _bytes(config)


def _bytes(config: dict[str, object]) -> int:
    return 2 * sum(int(np.prod(shape)) for shape in llama_shapes(config).values())


def copy(source: Path, target: Path) -> tuple[float, float]:
    """Seconds of ``cp``, and of making sure that the disk has it."""
    started = time.perf_counter()
    subprocess.run(["cp", str(source), str(target)], check=True)
    copied = time.perf_counter()
    with target.open("rb") as file:
        os.fsync(file.fileno())
    return copied - started, time.perf_counter() - copied


def cast(elements: int, block: np.ndarray) -> float:
    """Seconds of bfloat16 to float32 to float16 for so many numbers, half a megabyte at a time."""
    step = 1 << 18
    started = time.perf_counter()
    for at in range(0, elements, step):
        part = block[at % BLOCK : at % BLOCK + step]
        (part.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float16)
    return time.perf_counter() - started


def convert(*arguments: str) -> tuple[float, float]:
    """Seconds and peak MB of ``trtbuild checkpoint`` in a process of its own."""
    command = [sys.executable, "-m", "trtbuild", "checkpoint", *arguments]
    started = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            raise SystemExit(log.read().decode())
    return time.perf_counter() - started, usage.ru_maxrss * 1024 / 1e6


def measure(work: Path, gigabytes: float) -> list[Row]:
    block = random_block()
    size = make_source(work / "source", gigabytes, block)
    weights = work / "source" / "model.safetensors"
    os.sync()
    named = f"{size / 1e9:.1f} GB"
    copied, synced = copy(weights, work / "copy")
    (work / "copy").unlink()
    casted = cast(size // 2, block)
    del block
    least = copied + synced + casted
    taken, peak = convert(
        str(work / "source"), "--out", str(work / "out"), "--dtype", "float16", "--tp", "2"
    )
    shutil.rmtree(work / "out")
    make_headers_only(work / "70b")
    planned, planned_peak = convert(
        str(work / "70b"), "--out", str(work / "none"), "--tp", "4", "--pp", "2", "--dry-run"
    )
    return [
        Row(f"cp ({named})", copied, 0, "itself", 1.0),
        Row("fsync of the copy", synced, 0, "cp", synced / copied),
        Row("numpy cast to float16", casted, 0, "cp", casted / copied),
        Row(
            f"trtbuild checkpoint, tp 2 ({named})", taken, peak, "cp + fsync + cast", taken / least
        ),
        Row("the same", taken, peak, "cp + cast", taken / (copied + casted)),
        Row("plan of 140 GB", planned, planned_peak, "one second", planned),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gb", type=float, default=0.5)
    parser.add_argument("--full", action="store_true", help=f"{FULL_GB} GB")
    parser.add_argument("--folder", help="where to work; default the temporary directory")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    gigabytes = FULL_GB if options.full else options.gb
    work = Path(tempfile.mkdtemp(prefix="trtbuild-bench-", dir=options.folder))
    try:
        rows = measure(work, gigabytes)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    print("| what | seconds | peak MB | ratio | beside |\n|---|---|---|---|---|")
    for r in rows:
        print(f"| {r.name} | {r.seconds:.2f} | {r.peak_mb:.0f} | {r.ratio:.2f} | {r.beside} |")


if __name__ == "__main__":
    main()
