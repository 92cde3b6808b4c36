"""What the benchmark's own client costs: tokens/s it can take, and how much later it sees them.

    python benchmarks/bench_client.py [--streams 16] [--tokens 2000] [--seconds 4]
    python benchmarks/bench_client.py --against COMMIT [--rounds 5]

The server is a process of its own that sends one-token chunks. Throughput: as fast as it can, the
client on one core. Latency: one chunk every 20 ms on each of 4 streams; both processes read the
same monotonic clock, the chunk carries the moment it was sent, and what is reported is how much
later the client has it. Beside both: the same requests through httpx.

With ``--against`` the client of another commit, in a worktree of its own, takes turns with this one
in front of the same servers: OpenAI's API, Triton over HTTP and Triton over gRPC.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from tokenizers import Tokenizer, models, pre_tokenizers


def _package() -> str:
    """Where the tree of this turn has the client: it moved after 89ea408."""
    old = importlib.util.find_spec("trtbuild.bench")
    return "trtbuild.bench" if old else "trtbuild_measure.bench"


def _class(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(f"{_package()}.{module}"), name)


Counter = _class("counting.Counter")
Ledger = _class("ledger.Ledger")
Goodput = _class("metrics.goodput.Goodput")
Generation, Prompt, Stream = (_class(f"model.{n}") for n in ("Generation", "Prompt", "Stream"))
OpenAITarget, _Reader = _class("targets.openai.OpenAITarget"), _class("targets.openai._Reader")

HERE = Path(__file__).parent
SERVER = HERE.parent / "tests" / "support" / "mock_llm_server.py"
KINDS = ("openai", "triton-http", "triton-grpc")


class Mock:
    """The scripted server as a process."""

    def __init__(self, **script: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, SERVER, "--script", json.dumps(script)],
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}/v1"

    def __enter__(self) -> str:
        return self.url

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()


async def ours(
    url: str, streams: int, each: int, seconds: float, kind: str = "openai"
) -> tuple[int, float, float]:
    """Tokens, seconds and CPU seconds of the client."""
    target = target_of(kind, url)
    if kind != "openai":
        await target.open()
    ledger = Ledger(Counter(_tokenizer()), Goodput({}))
    ledger.throughput.open(0)
    tokens, until = 0, time.perf_counter() + seconds

    async def client() -> None:
        nonlocal tokens
        while time.perf_counter() < until:
            stream = Stream(Prompt("a", 1, each), time.perf_counter())
            await target.ask(stream)
            ledger.add(stream, True)
            if stream.error:
                raise SystemExit(f"{stream.error}: {stream.message}")
            tokens += len(stream.pieces)

    start, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(client() for _ in range(streams)))
    found = tokens, time.perf_counter() - start, time.process_time() - cpu
    await target.close()
    return found


def target_of(kind: str, url: str) -> Any:
    """The benchmark's client of a protocol."""
    if kind == "openai":
        return OpenAITarget("mock", url, "mock", Generation())
    protocol = kind.removeprefix("triton-")
    module = importlib.import_module(f"{_package()}.targets.triton_{protocol}")
    exchange = getattr(module, f"{protocol.title()}Exchange", None)
    if exchange is None:  # until 941bea26 each protocol had a target of its own
        own = getattr(module, f"Triton{protocol.title()}Target")
        return own("mock", url, "m", Generation())
    target = _class("targets.triton.TritonTarget")
    return target("mock", url, "m", Generation(), exchange(url, "m", 600), timeout=600)


def _tokenizer() -> Tokenizer:
    """Counting is part of the client's work."""
    made = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


async def through_httpx(url: str, streams: int, each: int, seconds: float) -> tuple[int, float]:
    """Tokens and seconds of the usual client."""
    until = time.perf_counter() + seconds
    tokens = 0
    body = {"model": "mock", "messages": [], "max_tokens": each}

    async def client(session: httpx.AsyncClient) -> None:
        nonlocal tokens
        while time.perf_counter() < until:
            async with session.stream("POST", f"{url}/chat/completions", json=body) as answer:
                async for line in answer.aiter_lines():
                    if line.startswith("data: {"):
                        choice = json.loads(line[6:])["choices"][0]
                        tokens += bool(choice["delta"].get("content"))

    start = time.perf_counter()
    limits = httpx.Limits(max_connections=streams)
    async with httpx.AsyncClient(limits=limits, timeout=60) as session:
        await asyncio.gather(*(client(session) for _ in range(streams)))
    return tokens, time.perf_counter() - start


async def lateness(url: str, streams: int, rounds: int) -> list[float]:
    """Milliseconds from a chunk's sending to its time in the client."""
    target = OpenAITarget("mock", url, "mock", Generation())
    found: list[float] = []
    reader = _Reader.event

    def event(self: _Reader, now: float, data: bytes) -> None:
        if b'"sent"' in data:
            found.append((now - json.loads(data)["sent"]) * 1e3)
        reader(self, now, data)

    _Reader.event = event  # type: ignore[method-assign]
    try:
        for _ in range(rounds):
            asked = [Stream(Prompt("a", 1, 42), time.perf_counter()) for _ in range(streams)]
            await asyncio.gather(*map(target.ask, asked))
    finally:
        _Reader.event = reader  # type: ignore[method-assign]
        await target.close()
    return found


def pin(core: int) -> None:
    """One core for the client, so that the figure is one core's."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {core})


def compare(ref: str, args: argparse.Namespace) -> None:
    """Tokens a CPU second of this tree's client over those of ``ref``'s, turn by turn."""
    root = HERE.parent
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "tree"
        git = ["git", "-C", str(root), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", other, ref], check=True)
        try:
            for kind in KINDS:
                with serving(kind, args.tokens) as url:
                    rates: dict[Path, list[float]] = {root: [], other: []}
                    for tree in (root, other, other, root) * ((args.rounds + 1) // 2):
                        rates[tree].append(one_turn(tree, kind, url, args))
                report(kind, rates[root], rates[other], ref)
        finally:
            subprocess.run([*git, "remove", "--force", other], check=True)


def report(kind: str, here: list[float], there: list[float], ref: str) -> None:
    """One line: medians, their ratio, and the range of the ratios of neighbouring turns."""
    ratios = sorted(a / b for a, b in zip(here, there, strict=True))
    ratio = statistics.median(here) / statistics.median(there)
    print(
        f"{kind:11} {statistics.median(here):9,.0f} tokens/s a core here, "
        f"{statistics.median(there):9,.0f} at {ref}; ratio {ratio:.2f} "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f} over {len(ratios)} turns)"
    )


def one_turn(tree: Path, kind: str, url: str, args: argparse.Namespace) -> float:
    """Tokens a CPU second of a client whose package comes from ``tree``."""
    run = ["--streams", args.streams, "--tokens", args.tokens, "--seconds", args.seconds]
    argv = [sys.executable, HERE / "bench_client.py", "--turn", kind, "--url", url, *run]
    roots = [str(tree / root) for root in ("src", "measure")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(roots)}
    done = subprocess.run(
        list(map(str, argv)), check=True, capture_output=True, text=True, env=environment
    )
    return float(done.stdout)


@contextlib.contextmanager
def serving(kind: str, tokens: int) -> Iterator[str]:
    """Where the mock server of a protocol listens."""
    if kind == "openai":
        script = {"flood": True, "role_ms": 0, "pieces": [" a"] * tokens}
        with Mock(**script, completion_tokens=tokens) as url:
            yield url
        return
    argv = [sys.executable, HERE / "mock_triton.py", "--tokens", str(tokens)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        http, grpc = process.stdout.readline().split()
        yield f"127.0.0.1:{http if kind == 'triton-http' else grpc}"
        process.kill()


def main() -> None:
    """Measure and print ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--against", metavar="COMMIT", help="compare with this commit's client")
    parser.add_argument("--rounds", type=int, default=6, help="turns of each")
    parser.add_argument("--turn", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    args = parser.parse_args()
    run = args.streams, args.tokens, args.seconds
    if args.turn:
        tokens, _, cpu = asyncio.run(ours(args.url, *run, args.turn))
        print(tokens / cpu)
        return
    print(f"load average {os.getloadavg()[0]:.1f}")
    if args.against:
        compare(args.against, args)
        return
    with serving("openai", args.tokens) as url:
        pin(0)
        tokens, seconds, cpu = asyncio.run(ours(url, *run))
        usual, usual_seconds = asyncio.run(through_httpx(url, *run))
    rate, usual_rate = tokens / seconds, usual / usual_seconds
    per_core = tokens / cpu
    print(f"ours   {rate:9,.0f} tokens/s wall, {per_core:9,.0f} tokens/s a core (CPU {cpu:.2f} s)")
    print(f"httpx  {usual_rate:9,.0f} tokens/s wall; ratio {rate / usual_rate:.1f}")
    print(f"aim    {20_000:9,} tokens/s: {'reached' if rate >= 20_000 else 'MISSED'}")
    with Mock(stamp=True) as url:
        late = sorted(asyncio.run(lateness(url, 4, 3)))
    middle = statistics.median(late)
    print(
        f"added  p50 {middle:.3f} ms, p90 {late[len(late) * 9 // 10]:.3f} ms over {len(late)} "
        f"chunks; aim 0.2 ms: {'reached' if middle <= 0.2 else 'MISSED'}"
    )


if __name__ == "__main__":
    main()
