"""What online users of a real Triton notice of a batch job: the time to their first token.

    python benchmarks/bench_batch_triton.py [--requests 100] [--rounds 2] [--users 2]

SmolLM2 in the embedded server (`trtbuild runtime install`). Users ask again and again, with random
pauses, for two tokens. Parts without a job and beside each kind of job take turns, because the
machine may be busy with something else. Each job first runs without users, for its speed; then the
users come, and once the job has had the time to react, they are measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support import triton
from support.smollm2 import smollm2_served

AIM = 1.2
JOBS: dict[str, Sequence[str] | None] = {"alone": None, "default": (), "--greedy": ("--greedy",)}
START_SECONDS = 10.0  # a job learns the server's size
SPEED_SECONDS = 15.0
SETTLE_SECONDS, SETTLE_REQUESTS = 20.0, 20
LONGEST_SECONDS = 45.0  # of a part in which requests take long
PAUSE, TOKENS, ROW_TOKENS = 0.3, 2, 48
PROMPT = "<|im_start|>user\nWrite about the number {}.<|im_end|>\n<|im_start|>assistant\n"


@dataclass
class Part:
    """What was measured of one kind of job, in all rounds."""

    firsts: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)


def first_token(client: httpx.Client, number: int) -> float:
    """Ask; return the milliseconds until the first token."""
    body = {
        "text_input": PROMPT.format(number), "stream": True,
        "sampling_parameters": json.dumps({"max_tokens": TOKENS, "temperature": 0}),
    }  # fmt: skip
    began, found = time.perf_counter(), 0.0
    with client.stream("POST", "/v2/models/smollm2/generate_stream", json=body) as response:
        for line in response.iter_lines():
            if line.startswith("data:"):
                found = found or (time.perf_counter() - began) * 1e3
    if not found:
        raise SystemExit(f"error: no answer: HTTP {response.status_code}")
    return found


def users(
    server: triton.Triton, count: int, requests: int, least: float, longest: float
) -> list[float]:
    """Return the times to the first token of so many users until all have asked often enough."""
    began = time.perf_counter()

    def user(number: int) -> list[float]:
        chance, found = random.Random(number), []
        with httpx.Client(base_url=f"http://{server.http}", timeout=300) as client:
            while (took := time.perf_counter() - began) < longest:
                if took >= least and len(found) * count >= requests:
                    break
                time.sleep(chance.uniform(0, PAUSE))
                found.append(first_token(client, number * 1000 + len(found)))
        return found

    with ThreadPoolExecutor(count) as pool:
        return [one for found in pool.map(user, range(count)) for one in found]


@contextlib.contextmanager
def job(server: triton.Triton, rows: Path, out: Path, options: Sequence[str]) -> Iterator[None]:
    """A batch job that runs, of a process of its own."""
    command = [
        sys.executable, "-m", "trtbuild", "batch", "run", str(rows), "-o", str(out), "--target",
        f"triton:grpc://{server.grpc}/smollm2", "--prompt", "{{ text }}", "--raw",
        "--max-tokens", str(ROW_TOKENS), "--param", "ignore_eos=true", "--metrics-url",
        f"http://127.0.0.1:{server.metrics_port}/metrics", *options,
    ]  # fmt: skip
    log = out.with_suffix(".log")
    with log.open("wb") as stream:
        child = subprocess.Popen(command, stderr=stream, stdout=subprocess.DEVNULL)
        try:
            yield
            if child.poll() is not None:
                raise SystemExit(f"error: the job ended:\n{log.read_text()}")
        finally:
            child.terminate()
            child.wait()


def tokens(server: triton.Triton) -> float:
    """Tokens that the server has generated."""
    return server.metrics()["generation_tokens_total"]


def measure(server: triton.Triton, given: argparse.Namespace, part: Part, *, busy: bool) -> None:
    """Measure one round of a part; ``busy``: beside a job that has just begun."""
    if busy:
        time.sleep(START_SECONDS)
        before, began = tokens(server), time.perf_counter()
        time.sleep(SPEED_SECONDS)
        rows = (tokens(server) - before) / ROW_TOKENS
        part.alone.append(rows / (time.perf_counter() - began))
        users(server, given.users, SETTLE_REQUESTS, SETTLE_SECONDS, 2 * SETTLE_SECONDS)
    before, began = tokens(server), time.perf_counter()
    found = users(server, given.users, given.requests // given.rounds + 1, 0, LONGEST_SECONDS)
    rows = (tokens(server) - before - TOKENS * len(found)) / ROW_TOKENS
    part.beside.append(max(0.0, rows) / (time.perf_counter() - began))
    part.firsts += found


def main() -> None:
    """Print the table, and whether the aim is reached."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=100, help="of each part")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--users", type=int, default=2)
    parser.add_argument("--slots", type=int, default=16)
    given = parser.parse_args()
    parts = {name: Part() for name in JOBS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "weights").mkdir()
        rows = folder / "rows.jsonl"
        rows.write_text("".join(json.dumps({"text": PROMPT.format(n)}) + "\n" for n in range(9999)))
        weights = triton.smollm2(folder / "weights")
        with smollm2_served(weights, folder / "work", max_num_seqs=given.slots) as server:
            users(server, given.users, SETTLE_REQUESTS, 5, 60)  # the first answers are slow
            for turn in range(given.rounds):
                for kind, options in JOBS.items():
                    with contextlib.ExitStack() as beside:
                        if options is not None:
                            out = folder / f"out{turn}{kind.strip('-')}"
                            beside.enter_context(job(server, rows, out, options))
                        measure(server, given, parts[kind], busy=options is not None)
                    server.settled()
                    print(f"round {turn + 1}, {kind}: done", file=sys.stderr, flush=True)
    show(parts)


def p99(found: Sequence[float]) -> float:
    """The 99th percentile; about the slowest of fewer than 100."""
    return statistics.quantiles(found, n=100, method="inclusive")[98]


def show(parts: dict[str, Part]) -> None:
    """Print the table, and the two figures that have an aim."""
    print("| job | requests | TTFT p50, ms | p99, ms | p50 by alone | p99 by alone | "
          "rows/s beside | rows/s without users |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    alone = parts["alone"].firsts
    for kind, part in parts.items():
        p50, cut = statistics.median(part.firsts), p99(part.firsts)
        speed = statistics.mean(part.alone) if part.alone else 0.0
        print(f"| {kind} | {len(part.firsts)} | {p50:.0f} | {cut:.0f} | "
              f"{p50 / statistics.median(alone):.2f} | {cut / p99(alone):.2f} | "
              f"{statistics.mean(part.beside):.2f} | {speed:.2f} |")  # fmt: skip
    default, greedy = parts["default"], parts["--greedy"]
    ratio = p99(default.firsts) / p99(alone)
    print(f"p99 beside the default job is {ratio:.2f} times p99 alone; the aim is {AIM}")
    share = statistics.mean(default.alone) / statistics.mean(greedy.alone)
    print(f"without users the default job has {share:.2f} of the speed of --greedy")


if __name__ == "__main__":
    main()
