"""The gateway with keys, limits, audit log and masking under steady load: what is lost, what grows.

    python benchmarks/soak_gateway.py [--minutes 10] [--load 0.8 | --rate 60]

Streams of 20 tokens begin at a fixed rate: a share of what the gateway completes in a second while
it has more than it can do, which is measured first. While ``--most`` streams are open, the next
ones wait; their share is told. At the end the audit log must have a line for each stream and
verify, and no stream may be lost: otherwise the exit code is 1. The memory is that after each tenth
of the time.
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
from gateway_load import HERE, TICK, free_port, opened, running
from gateway_variants import access_variants


async def one(port: int, request: bytes, ended: list[bool]) -> None:
    """Ask once, and note whether the answer was complete."""
    try:
        stream = await opened(port, request, b"data:")
        await asyncio.wait_for(stream.done, 30)
        stream.transport.close()
        ended.append(True)
    except (OSError, TimeoutError):
        ended.append(False)


async def capacity(port: int, request: bytes, most: int, seconds: float = 8) -> tuple[float, int]:
    """Return the streams that end in a second while ``most`` are always open, and all of them."""
    ended: list[bool] = []
    until = time.monotonic() + seconds

    async def client() -> None:
        while time.monotonic() < until:
            await one(port, request, ended)

    asking = asyncio.gather(*(client() for _ in range(most)))
    await asyncio.sleep(seconds / 4)
    early, at = len(ended), time.monotonic()
    await asyncio.sleep(until - at)
    found = (len(ended) - early) / (until - at)
    await asking
    if not all(ended):
        raise SystemExit(f"{ended.count(False)} streams were lost while the capacity was measured")
    return found, len(ended)


async def steady(
    port: int, request: bytes, process: psutil.Process, rate: float, args: Any
) -> dict[str, Any]:
    """Ask at a fixed rate; return counts and memory."""
    ended: list[bool] = []
    memory: list[float] = []
    waited = 0
    room = asyncio.Semaphore(args.most)
    count = int(60 * args.minutes * rate)
    began, cpu = time.monotonic(), sum(process.cpu_times()[:2])
    asked = set()

    async def ask() -> None:
        try:
            await one(port, request, ended)
        finally:
            room.release()

    for number in range(count):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        waited += room.locked()
        await room.acquire()
        task = asyncio.create_task(ask())
        asked.add(task)
        task.add_done_callback(asked.discard)
        if number * 10 >= count * (len(memory) + 1):
            memory.append(round(process.memory_info().rss / 1e6, 1))
            print(f"{number:,} of {count:,} streams, {memory[-1]} MB", flush=True)
    await asyncio.gather(*asked)
    took = time.monotonic() - began
    memory.append(round(process.memory_info().rss / 1e6, 1))
    return {
        "minutes": round(took / 60, 1),
        "asked": len(ended),
        "a_second": round(len(ended) / took, 1),
        "complete": sum(ended),
        "waited": round(waited / max(count, 1), 3),
        "core": round((sum(process.cpu_times()[:2]) - cpu) / took, 2),
        "rss_mb": memory,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--load", type=float, default=0.8, help="share of the capacity")
    parser.add_argument("--rate", type=float, help="requests a second instead of a share")
    parser.add_argument("--most", type=int, default=300, help="streams that are open at a time")
    args = parser.parse_args()
    upstream = free_port()
    mock = [sys.executable, str(HERE / "mock_generate_stream.py"), str(upstream), str(TICK)]
    with tempfile.TemporaryDirectory() as folder, running(mock, upstream):
        *_, (_, argv, port, make), _ = access_variants(upstream, Path(folder))
        with running(argv, port) as (process, _):
            log = Path(folder) / "masked.jsonl"
            request = make(20, 1)
            most, before = asyncio.run(capacity(port, request, args.most))
            rate = args.rate or args.load * most
            found = asyncio.run(steady(port, request, process, rate, args))
            found["lines"] = lines_of(log, before + found["asked"]) - before
        rows = map(json.loads, log.read_text().splitlines())
        found["outcomes"] = dict(Counter(f"{row['status']} {row['error']}".strip() for row in rows))
        code = "from trtbuild.cli.app import main; main()"
        verify = [sys.executable, "-c", code, "audit", "verify", str(log)]
        found["verified"] = subprocess.run(verify, check=False, capture_output=True).returncode == 0
    print(found)
    sys.exit(not (found["asked"] == found["complete"] == found["lines"] and found["verified"]))


def lines_of(log: Path, wanted: int) -> int:
    """Return the lines of the audit log, once it has so many or ten seconds later."""
    deadline = time.monotonic() + 10
    while (found := log.read_bytes().count(b"\n")) < wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


if __name__ == "__main__":
    main()
