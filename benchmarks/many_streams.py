"""The gateway's memory while it answers very many short streams, one after another.

    python benchmarks/many_streams.py [--streams 1000000] [--at-once 50]

Each stream has two tokens in two packets. Keys, limits and the audit log are on. The memory is
that after each tenth of the streams, and ``growth_mb`` what the second half added to it; a stream
that is not complete ends the run with exit code 1.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from gateway_load import HERE, free_port, running
from gateway_variants import access_variants
from soak_gateway import one

TICK = 0.002


async def ask(port: int, request: bytes, process: psutil.Process, args: Any) -> dict[str, Any]:
    """Keep ``--at-once`` streams open until all have ended."""
    ended: list[bool] = []
    memory: list[float] = []
    begun, step = 0, max(1, args.streams // 10)
    began = time.monotonic()

    async def client() -> None:
        nonlocal begun
        while begun < args.streams and all(ended[-1:]):
            begun += 1
            await one(port, request, ended)
            if len(ended) % step == 0:
                memory.append(round(process.memory_info().rss / 1e6, 1))
                print(f"{len(ended):,} streams, {memory[-1]} MB", file=sys.stderr, flush=True)

    await asyncio.gather(*(client() for _ in range(args.at_once)))
    return {
        "streams": len(ended),
        "lost": ended.count(False),
        "a_second": round(len(ended) / (time.monotonic() - began)),
        "rss_mb": memory,
        "growth_mb": round(memory[-1] - memory[len(memory) // 2 - 1], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=1_000_000)
    parser.add_argument("--at-once", type=int, default=50)
    args = parser.parse_args()
    upstream = free_port()
    mock = [sys.executable, str(HERE / "mock_generate_stream.py"), str(upstream), str(TICK)]
    with tempfile.TemporaryDirectory() as folder, running(mock, upstream):
        variants = access_variants(upstream, Path(folder))
        _, argv, port, make = next(one for one in variants if one[0] == "keys, limits, audit")
        with running(argv, port) as (process, _):
            found = asyncio.run(ask(port, make(2, 1), process, args))
    print(found)
    raise SystemExit(1 if found["lost"] else 0)


if __name__ == "__main__":
    main()
