"""What online users notice of a batch job: the time to their first token alone and beside it.

    python benchmarks/bench_batch_online.py [--seconds 40] [--burst 8]

A server in this process has 64 slots, a queue in front of them, and vLLM's metrics. A request keeps
a slot for 0.3 s on average; its first token comes 30 ms after it got one. Eight online users ask
one request after another, now and then --burst more at once. The job is the real one, in a process
of its own. The server computes nothing, so the figures are of the queue and not of a GPU that
slows down when it is full.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

SLOTS, HELD, FIRST = 64, 0.3, 0.03
USERS, BURST_EVERY = 8, 4.0
MODES = {
    "alone": None,
    "default": [],
    "--greedy": ["--greedy"],
    "--concurrency 256": ["--concurrency", "256"],
}


class Server:
    """Slots and a queue; waiting times of online requests."""

    def __init__(self) -> None:
        self.free = asyncio.Semaphore(SLOTS)
        self.running = self.waiting = self.batch = 0
        self.chance = random.Random(1)

    async def compute(self) -> float:
        """Hold a slot; return the seconds until the first token."""
        began = time.perf_counter()
        self.waiting += 1
        async with self.free:
            self.waiting -= 1
            self.running += 1
            first = time.perf_counter() - began + FIRST
            await asyncio.sleep(self.chance.uniform(0.5, 1.5) * HELD)
            self.running -= 1
        return first

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the job's requests, and the metrics."""
        with contextlib.suppress(
            ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError
        ):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                size = head.lower().partition("content-length:")[2].partition("\r\n")[0]
                await reader.readexactly(int(size or 0))
                if head.startswith("GET /metrics"):
                    body = (
                        f'vllm:num_requests_running{{model_name="m"}} {self.running}\n'
                        f'vllm:num_requests_waiting{{model_name="m"}} {self.waiting}\n'
                    ).encode()
                elif head.startswith("GET"):
                    body = b'{"data": [{"id": "m"}]}'
                else:
                    await self.compute()
                    self.batch += 1
                    choice = {"message": {"content": "x"}, "finish_reason": "stop"}
                    body = json.dumps({"choices": [choice]}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        writer.close()


async def users(server: Server, seconds: float, burst: int) -> list[float]:
    """Return the times to the first token, in milliseconds."""
    found: list[float] = []
    until = time.perf_counter() + seconds

    async def ask() -> None:
        found.append(await server.compute() * 1e3)

    async def user() -> None:
        while time.perf_counter() < until:
            await ask()

    async def bursts() -> None:
        while time.perf_counter() < until:
            await asyncio.sleep(BURST_EVERY)
            await asyncio.gather(*(ask() for _ in range(burst)))

    await asyncio.gather(bursts(), *(user() for _ in range(USERS)))
    return found


async def measure(
    mode: str, options: list[str] | None, seconds: float, burst: int, folder: Path
) -> None:
    """Print a line of the table."""
    state = Server()
    server = await asyncio.start_server(state.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    job = None
    if options is not None:
        command = [
            "-m", "trtbuild", "batch", "run", str(folder / "rows.jsonl"), "-o",
            str(folder / mode.replace(" ", "")), "--target", f"http://127.0.0.1:{port}/v1",
            "--model", "m", "--prompt", "{{ text }}", *options,
        ]  # fmt: skip
        job = await asyncio.create_subprocess_exec(
            sys.executable, *command, stderr=asyncio.subprocess.DEVNULL
        )
        await asyncio.sleep(30)  # it has learnt the server's size
    state.batch = 0
    found = await users(state, seconds, burst)
    if job is not None:
        job.terminate()
        await job.wait()
    server.close()
    cuts = statistics.quantiles(found, n=100)
    print(
        f"| {mode} | {statistics.median(found):.0f} | {cuts[98]:.0f} | "
        f"{state.batch / seconds:.0f} |",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--burst", type=int, default=8)
    given = parser.parse_args()
    print("| job | TTFT p50, ms | TTFT p99, ms | rows/s of the job |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        rows = "".join(f'{{"text": "row {n}"}}\n' for n in range(100_000))
        (Path(folder) / "rows.jsonl").write_text(rows)
        for mode, options in MODES.items():
            asyncio.run(measure(mode, options, given.seconds, given.burst, Path(folder)))


if __name__ == "__main__":
    main()
