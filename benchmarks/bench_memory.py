"""Memory of the benchmark's client over many requests: it must not grow.

    python benchmarks/bench_memory.py [--requests 1000000]
    python benchmarks/bench_memory.py --served [--rate 1700 --seconds 600]

Alone, the ledger takes requests as fast as it can: real pieces, a real tokenizer's work left out.
``--served`` measures the whole program: ``trtbuild bench run`` in an open loop over HTTP against a
scripted server, both processes of their own, answers of four pieces of a token each; 1,700 requests
a second for 600 seconds are a million. Printed are requests/s and the resident memory after a tenth
and at the end; their ratio is to stay near 1.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from tokenizers import Tokenizer, models, pre_tokenizers

from trtbuild_measure.bench.counting import Counter
from trtbuild_measure.bench.ledger import Ledger
from trtbuild_measure.bench.metrics.goodput import Goodput
from trtbuild_measure.bench.model import Prompt, Stream

SERVER = Path(__file__).parents[1] / "tests" / "support" / "mock_llm_server.py"
SCRIPT = {
    "flood": True,
    "role_ms": 0,
    "first_ms": 0,
    "pieces": [" time", " year", " people", " way"],
    "completion_tokens": 4,
}
FILLED = 100_000  # requests until every sample and bin that is kept has been
SAMPLES = 100  # of the resident memory, over the run
MIB = 2**20


def stream(source: random.Random, at: float, prompt: Prompt) -> Stream:
    """An answer of 16 pieces."""
    found = Stream(prompt, intended=at, started=at)
    for _ in range(16):
        at += source.expovariate(100)
        found.piece(at, " time", 1)
    found.ended = at
    found.output_tokens = 16
    if source.random() < 0.01:
        found.fail(at, "dropped", f"at {at}")
    return found


def alone(count: int) -> tuple[int, int]:
    """Bytes after a tenth and at the end of ``count`` requests through the ledger."""
    source, prompt = random.Random(0), Prompt("x", 1, 16)
    ledger = Ledger(Counter(), Goodput({"ttft_ms": 20.0}))
    start, early = time.perf_counter(), 0
    ledger.throughput.open(start)
    for number in range(count):
        # Ten minutes for a million of them.
        ledger.add(stream(source, start + number * 0.0006, prompt), True)
        if number == count // 10:
            early = psutil.Process().memory_info().rss
    seconds = time.perf_counter() - start
    print(f"{count:,} requests, {count / seconds:,.0f}/s through the ledger")
    return early, psutil.Process().memory_info().rss


def served(rate: float, seconds: float) -> tuple[int, int]:
    """Bytes of ``trtbuild bench run`` after a tenth and at the end of the load."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        tokenizer(Path(folder) / "tokenizer.json")
        argv = [sys.executable, SERVER, "--script", json.dumps(SCRIPT)]
        server = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
            samples = watched(url, rate, seconds, Path(folder), out)
        finally:
            server.kill()
            server.wait()
        load = json.loads(out.read_text())["targets"][0]["loads"][0]
    tell(load, samples)
    begun = samples[0][0]
    early = next(rss for at, rss in samples if at - begun >= seconds / 10)
    return early, samples[-1][1]


def tokenizer(file: Path) -> None:
    """Counting is part of the client's work: one token a word."""
    made = Tokenizer(models.WordLevel({"<unk>": 0, "time": 1}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(file))


def watched(
    url: str, rate: float, seconds: float, folder: Path, out: Path
) -> list[tuple[float, int]]:
    """Times and resident bytes while requests are sent, seen from outside."""
    argv = [sys.executable, "-m", "trtbuild", "bench", "run", f"openai:{url}#mock"]
    argv += ["--rate", f"{rate:g}", "--duration", f"{seconds:g}", "--tokenizer", str(folder)]
    argv += ["--output-tokens", "4", "--prompt-tokens", "8", "--out", str(out)]
    client = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    process, samples = psutil.Process(client.pid), []
    assert client.stderr is not None
    client.stderr.readline()  # the load begins
    try:
        # After its last request the result is written; what that takes is not growth.
        until = time.monotonic() + seconds
        while client.poll() is None and time.monotonic() < until:
            samples.append((time.monotonic(), process.memory_info().rss))
            time.sleep(seconds / SAMPLES)
        _, said = client.communicate(timeout=120)
    finally:
        client.kill()
    if client.returncode:
        sys.exit(said)
    return samples


def tell(load: dict[str, dict[str, float]], samples: list[tuple[float, int]]) -> None:
    """What was sent, and how memory went."""
    requests, client = load["requests"], load["client"]
    print(
        f"{requests['measured']:,} requests served, {requests['failed']} failed, "
        f"{load['metrics']['requests_per_s']:,.0f}/s, the client used {client['cpu_share']:.0%} "
        "of a core"
    )
    steps = samples[:: max(1, len(samples) // 10)]
    print("RSS in MiB:", ", ".join(f"{rss / MIB:.0f}" for _, rss in steps))


def main() -> None:
    """Fill a ledger, or serve a benchmark, and watch."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--requests", type=int, default=50_000, help="through the ledger alone")
    parser.add_argument("--served", action="store_true", help="the whole program, over HTTP")
    parser.add_argument("--rate", type=float, default=500, help="requests a second, served")
    parser.add_argument("--seconds", type=float, default=8, help="of the served load")
    found = parser.parse_args()
    early, late = served(found.rate, found.seconds) if found.served else alone(found.requests)
    print(f"RSS {early / MIB:.0f} MiB after a tenth, {late / MIB:.0f} MiB at the end")
    count = found.rate * found.seconds if found.served else found.requests
    verdict = "bounded" if late < early * 1.1 else "GROWS"
    print(f"ratio {late / early:.3f}: {verdict if count >= FILLED else 'too short to tell'}")


if __name__ == "__main__":
    main()
