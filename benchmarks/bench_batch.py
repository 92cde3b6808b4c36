"""What a batch job costs this machine: CPU time of a row without HTTP, and memory over many rows.

    python benchmarks/bench_batch.py [--rows 1000000] [--json FILE]

The target answers at once, in the same process. Everything else is the product: Parquet in,
templates, engine, journal, Parquet out. Beside it, in the same run: reading and writing the same
rows with pyarrow alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

TEXT = (
    "The quick brown fox jumps over the lazy dog, and row {} is about 100 characters long, as here."
)


def main() -> None:
    """Print both figures, and write them to ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        print(json.dumps(PARTS[given.part](Path.cwd())))
        return
    with tempfile.TemporaryDirectory() as folder:
        _write_input(Path(folder), given.rows)
        found = {part: _measured(part, Path(folder)) for part in PARTS}
    for part, one in found.items():
        rate = given.rows / one["cpu"]
        print(
            f"{part}: {one['cpu']:.1f} CPU s, {rate:,.0f} rows a CPU second, "
            f"peak {one['peak'] / 1e6:.0f} MB, {one['wall']:.0f} s"
        )
    if given.json:
        given.json.write_text(json.dumps({"rows": given.rows, **found}, indent=2))


def _measured(part: str, folder: Path) -> dict[str, float]:
    """Run a part in a process of its own; its peak memory is sampled from here."""
    command = [sys.executable, __file__, "--part", part]
    child = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    peak = 0
    while child.poll() is None:
        try:
            peak = max(peak, psutil.Process(child.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.05)
    said = child.stdout.read() if child.stdout else ""
    if child.wait():
        raise SystemExit(f"{part} failed")
    found: dict[str, float] = json.loads(said)
    return found | {"peak": float(peak)}


def _write_input(folder: Path, rows: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    with pq.ParquetWriter(folder / "rows.parquet", schema) as writer:
        for first in range(0, rows, 50_000):
            numbers = range(first, min(rows, first + 50_000))
            columns = {"id": [f"r{n}" for n in numbers], "text": [TEXT.format(n) for n in numbers]}
            writer.write_table(pa.table(columns, schema=schema))


class _Immediate:
    """A target that answers at once."""

    async def open(self) -> Mapping[str, Any]:
        return {}

    async def alive(self) -> bool:
        return True

    async def ask(self, question: Any) -> Any:
        from trtbuild_batch.engine import Outcome

        await asyncio.sleep(0)
        return Outcome(question.messages[-1]["content"][:100], "stop", 25, 25)

    async def close(self) -> None: ...


def _job(folder: Path) -> dict[str, float]:
    from trtbuild.progress import SILENT
    from trtbuild_batch.jobs.run import run
    from trtbuild_batch.options import RunOptions, TaskOptions

    options = RunOptions(
        inputs=(str(folder / "rows.parquet"),),
        out=str(folder / "out"),
        target="http://127.0.0.1:1/v1",
        model="immediate",
        concurrency=128,
    )
    cpu, wall = time.process_time(), time.perf_counter()
    run(options, TaskOptions(prompt="Summarize: {{ text }}"), SILENT, client=_Immediate())
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def _copy(folder: Path) -> dict[str, float]:
    import pyarrow.parquet as pq

    cpu, wall = time.process_time(), time.perf_counter()
    with pq.ParquetFile(folder / "rows.parquet") as source:
        writer = pq.ParquetWriter(folder / "copy.parquet", source.schema_arrow, compression="zstd")
        with writer:
            for batch in source.iter_batches(10_000):
                writer.write_batch(batch)
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


PARTS = {"job": _job, "copy with pyarrow": _copy}

if __name__ == "__main__":
    main()
