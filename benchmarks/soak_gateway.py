"""The gateway with keys, limits, audit log and masking under steady load: what is lost, what grows.

    python benchmarks/soak_gateway.py [--seconds 600] [--rate 60]

Streams of 20 tokens begin at a fixed rate. At the end the audit log must have a line for each and
verify; the memory after a tenth of the time is compared with that at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
from bench_gateway import HERE, TICK, access_variants, free_port, opened, running


async def one(port: int, request: bytes, ended: list[bool]) -> None:
    """Ask once, and note whether the answer was complete."""
    try:
        stream = await opened(port, request, b"data:")
        await asyncio.wait_for(stream.done, 30)
        stream.transport.close()
        ended.append(True)
    except (OSError, TimeoutError):
        ended.append(False)


async def steady(port: int, request: bytes, process: psutil.Process, args: Any) -> dict[str, Any]:
    """Ask at a fixed rate; return counts and memory."""
    ended: list[bool] = []
    began, cpu, early = time.monotonic(), sum(process.cpu_times()[:2]), 0.0
    asked = set()
    for number in range(int(args.seconds * args.rate)):
        await asyncio.sleep(max(0.0, began + number / args.rate - time.monotonic()))
        task = asyncio.create_task(one(port, request, ended))
        asked.add(task)
        task.add_done_callback(asked.discard)
        if not early and number > args.seconds * args.rate / 10:
            early = process.memory_info().rss / 1e6
    await asyncio.gather(*asked)
    took = time.monotonic() - began
    return {
        "asked": len(ended),
        "complete": sum(ended),
        "core": round((sum(process.cpu_times()[:2]) - cpu) / took, 2),
        "rss_mb_early": round(early, 1),
        "rss_mb_end": round(process.memory_info().rss / 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=float, default=60, help="requests a second")
    args = parser.parse_args()
    upstream = free_port()
    mock = [sys.executable, str(HERE / "mock_generate_stream.py"), str(upstream), str(TICK)]
    with tempfile.TemporaryDirectory() as folder, running(mock, upstream):
        *_, (_, argv, port, make) = access_variants(upstream, Path(folder))
        with running(argv, port) as (process, _):
            found = asyncio.run(steady(port, make(20, 1), process, args))
            log = Path(folder) / "masked.jsonl"
            deadline = time.monotonic() + 10
            while log.read_bytes().count(b"\n") < found["asked"] and time.monotonic() < deadline:
                time.sleep(0.1)
        found["lines"] = log.read_bytes().count(b"\n")
        rows = map(json.loads, log.read_text().splitlines())
        found["outcomes"] = dict(Counter(f"{row['status']} {row['error']}".strip() for row in rows))
        code = "from trtbuild.cli.app import main; main()"
        verify = [sys.executable, "-c", code, "audit", "verify", str(log)]
        found["verified"] = subprocess.run(verify, check=False, capture_output=True).returncode == 0
    print(found)


if __name__ == "__main__":
    main()
