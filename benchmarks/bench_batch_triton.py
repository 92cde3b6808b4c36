"""What online users of a real Triton notice of a batch job: the time to their first token.

    python benchmarks/bench_batch_triton.py [--seconds 60] [--rounds 2] [--slots 16]

SmolLM2 in the embedded server (`trtbuild runtime install`). One online user asks again and again,
with random pauses. Phases without a job and beside each kind of job take turns, because the machine
may be busy with something else. The last column is what the job is worth.
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
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support import triton
from support.smollm2 import smollm2_served

AIM = 1.2
JOBS: dict[str, Sequence[str] | None] = {
    "alone": None,
    "default": (),
    "--concurrency 1": ("--concurrency", "1"),
    "--greedy": ("--greedy",),
}
WARM_SECONDS = 15.0
PROMPT = "<|im_start|>user\nWrite about the number {}.<|im_end|>\n<|im_start|>assistant\n"


def first_token(client: httpx.Client, number: int) -> float:
    """Ask; return the milliseconds until the first token."""
    body = {
        "text_input": PROMPT.format(number), "stream": True,
        "sampling_parameters": json.dumps({"max_tokens": 8, "temperature": 0}),
    }  # fmt: skip
    began, found = time.perf_counter(), 0.0
    with client.stream("POST", "/v2/models/smollm2/generate_stream", json=body) as response:
        for line in response.iter_lines():
            if line.startswith("data:"):
                found = found or (time.perf_counter() - began) * 1e3
    if not found:
        raise SystemExit(f"error: no answer: HTTP {response.status_code}")
    return found


def user(server: triton.Triton, seconds: float, chance: random.Random) -> list[float]:
    """Return the times to the first token of one user."""
    found: list[float] = []
    with httpx.Client(base_url=f"http://{server.http}", timeout=120) as client:
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            time.sleep(chance.uniform(0, 0.3))
            found.append(first_token(client, len(found)))
    return found


@contextlib.contextmanager
def job(
    server: triton.Triton, rows: Path, out: Path, options: Sequence[str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A batch job that runs, of a process of its own."""
    command = [
        sys.executable, "-m", "trtbuild", "batch", "run", str(rows), "-o", str(out), "--target",
        f"triton:grpc://{server.grpc}/smollm2", "--prompt", "{{ text }}", "--raw",
        "--max-tokens", "64", "--metrics-url", f"http://127.0.0.1:{server.metrics_port}/metrics",
        *options,
    ]  # fmt: skip
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield child
    finally:
        child.terminate()
        child.wait()


def tokens(server: triton.Triton) -> float:
    """Tokens that the server has generated."""
    return server.metrics()["generation_tokens_total"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--slots", type=int, default=16)
    given = parser.parse_args()
    chance = random.Random(0)
    times: dict[str, list[float]] = {name: [] for name in JOBS}
    made = dict.fromkeys(JOBS, 0.0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "weights").mkdir()
        rows = folder / "rows.jsonl"
        rows.write_text("".join(json.dumps({"text": PROMPT.format(n)}) + "\n" for n in range(9999)))
        weights = triton.smollm2(folder / "weights")
        with smollm2_served(weights, folder / "work", max_num_seqs=given.slots) as server:
            user(server, WARM_SECONDS, chance)
            for turn in range(given.rounds):
                for kind, options in JOBS.items():
                    with contextlib.ExitStack() as beside:
                        if options is not None:
                            out = folder / f"out{turn}{kind.strip('-').replace(' ', '')}"
                            beside.enter_context(job(server, rows, out, options))
                            user(server, WARM_SECONDS, chance)  # the job learns the server's size
                        before = tokens(server)
                        times[kind] += user(server, given.seconds, chance)
                        made[kind] += tokens(server) - before
    show(times, made, given.seconds * given.rounds)


def p99(found: Sequence[float]) -> float:
    """The 99th percentile; about the slowest of fewer than 100."""
    return statistics.quantiles(found, n=100, method="inclusive")[98]


def show(times: dict[str, list[float]], made: dict[str, float], seconds: float) -> None:
    """Print the table, and whether the aim is reached."""
    print("| job | requests | TTFT p50, ms | p99, ms | p99 by alone | tokens/s of the server |")
    print("|---|---|---|---|---|---|")
    alone = p99(times["alone"])
    for kind, found in times.items():
        cut = p99(found)
        print(f"| {kind} | {len(found)} | {statistics.median(found):.0f} | {cut:.0f} | "
              f"{cut / alone:.2f} | {made[kind] / seconds:.1f} |")  # fmt: skip
    ratio = p99(times["default"]) / alone
    print(f"p99 beside the default job is {ratio:.2f} times p99 alone; the aim is {AIM}")


if __name__ == "__main__":
    main()
