"""What the ensemble costs around an engine of fixed speed, against one fused model and no text.

    python benchmarks/bench_ensemble.py [--streams 1 8 32 64] [--tokens 64] [--repeats 3] [--json F]

The engine (`fixed_engine.c`, compiled here) makes one token for every stream in each step, so it
has a speed of its own at any number of streams; what a path keeps of it is the result. As NVIDIA's
it runs inside the server: one written in Python slowed down with what was around it. Five paths, in
turns: `direct` sends token ids to the decoupled engine and gets ids back, `fused` has pre- and
postprocessing inside the engine's own process, `empty` is an ensemble whose two other Python models
do nothing, `ensemble` is what is generated, `throughput` the same by that profile. The client is on
the same cores.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ensemble_repository
import grpc
import psutil

from trtbuild import checkpoint, process, server
from trtbuild.client import wait_ready
from trtbuild.progress import SILENT
from trtbuild.server import LaunchOptions, Ports
from trtbuild.wire.schema import message as message_of

METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"
PATHS = {
    "direct": "bench_tensorrt_llm",
    "fused": "bench_fused",
    "empty": "bench_empty",
    "ensemble": "bench",
    "throughput": "bench_throughput",
}
PROMPT = "The quick brown fox jumps over the lazy dog, says the fable of the day: 東京 🙂."


def request(path: str, tokens: int, ids: list[int]) -> bytes:
    """A streamed request for ``tokens`` tokens, ready to be sent."""
    message = message_of("ModelInferRequest")(model_name=PATHS[path])
    count = struct.pack("<i", tokens)
    if path in ("direct", "empty"):
        packed = struct.pack(f"<{len(ids)}i", *ids)
        given = [
            ("input_ids", "INT32", len(ids), packed),
            ("input_lengths", "INT32", 1, struct.pack("<i", len(ids))),
            ("request_output_len", "INT32", 1, count),
            ("end_id", "INT32", 1, struct.pack("<i", 2)),
            ("streaming", "BOOL", 1, b"\x01"),
        ]
    else:
        text = PROMPT.encode()
        given = [
            ("text_input", "BYTES", 1, struct.pack("<i", len(text)) + text),
            ("max_tokens", "INT32", 1, count),
            ("stream", "BOOL", 1, b"\x01"),
        ]
    for name, kind, size, raw in given:
        message.inputs.add(name=name, datatype=kind, shape=[1, size])
        message.raw_input_contents.append(raw)
    message.parameters["triton_enable_empty_final_response"].bool_param = False
    return message.SerializeToString()


async def one(call: Any, body: bytes, tokens: int) -> list[bytes]:
    """Send a request on an open stream and wait for all its responses."""
    await call.write(body)
    return [await call.read() for _ in range(tokens)]


async def throughput(url: str, path: str, options: argparse.Namespace, streams: int) -> dict:
    """All streams at once, one request after another on each: rates, and the server's CPU time."""
    body = request(path, options.tokens, options.ids)
    async with grpc.aio.insecure_channel(url) as channel:
        await channel.channel_ready()
        calls = [channel.stream_stream(METHOD)() for _ in range(streams)]
        start, busy = time.perf_counter(), _cpu(options.pid)
        done = await asyncio.gather(*(_rounds(call, body, options) for call in calls))
        seconds, busy = time.perf_counter() - start, _cpu(options.pid) - busy
        for call in calls:
            await call.done_writing()
    _check([message for messages in done for message in messages])
    requests = streams * options.rounds
    made = requests * options.tokens
    return {"tokens": made / seconds, "requests": requests / seconds, "cpu_us": 1e6 * busy / made}


def _cpu(pid: int) -> float:
    """Seconds that the server and its models have worked."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return float(sum(sum(item.cpu_times()[:2]) for item in processes))


async def _rounds(call: Any, body: bytes, options: argparse.Namespace) -> list[bytes]:
    found = []
    for _ in range(options.rounds):
        found += await one(call, body, options.tokens)
    return found


async def latency(url: str, path: str, options: argparse.Namespace) -> list[float]:
    """Milliseconds of streams of one token, one after another."""
    body = request(path, 1, options.ids)
    times = []
    async with grpc.aio.insecure_channel(url) as channel:
        await channel.channel_ready()
        call = channel.stream_stream(METHOD)()
        for _ in range(options.latencies):
            start = time.perf_counter()
            found = await one(call, body, 1)
            times.append(1000 * (time.perf_counter() - start))
        await call.done_writing()
    _check(found)
    return times


def _check(messages: list[bytes]) -> None:
    for message in messages:
        error = message_of("ModelStreamInferResponse").FromString(message).error_message
        if error:
            raise SystemExit(error)


@contextlib.contextmanager
def served(folder: Path, tokenizer: Path, step_us: int) -> Iterator[tuple[str, int]]:
    """All paths on an embedded server; its gRPC address and its process."""
    repo = folder / f"repository-{step_us}"
    repo.mkdir()
    ensemble_repository.write(repo, "bench", tokenizer, step_us=step_us)
    # The engine returns the stream's key, as in a rehearsal: see docs/concepts/ensemble.md.
    env = {"TRTBUILD_REHEARSAL": "/dev/null"}
    options = LaunchOptions(ports=Ports(*process.free_ports(3, "127.0.0.1")), env=env)
    handle = server.launch(server.read_contents(repo), "embedded", options)
    try:
        wait_ready(
            handle.grpc_url,
            ["bench", "bench_empty", "bench_throughput"],
            120,
            watch=lambda: (server.watch(handle), None)[1],
        )
        yield handle.grpc_url, handle.pid
    finally:
        server.stop(handle)


def rates(url: str, options: argparse.Namespace) -> dict[int, dict[str, list[dict]]]:
    """Throughput by streams and path; the paths take turns, so what else runs hits them all."""
    found: dict[int, dict[str, list[dict]]] = {}
    for path in PATHS:
        asyncio.run(throughput(url, path, options, max(options.streams)))  # warm up
    for streams in options.streams:
        found[streams] = {path: [] for path in PATHS}
        for _ in range(options.repeats):
            for path in PATHS:
                found[streams][path].append(asyncio.run(throughput(url, path, options, streams)))
    return found


def times(url: str, options: argparse.Namespace) -> dict[str, list[float]]:
    """Latencies by path, of an engine that answers at once."""
    found: dict[str, list[float]] = {path: [] for path in PATHS}
    for repeat in range(options.repeats + 1):
        for path in PATHS:
            taken = asyncio.run(latency(url, path, options))
            found[path] += taken if repeat else []  # the first is the warm-up
    return found


def report(found: dict[str, Any], options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """The result as JSON, and as Markdown."""
    lines = [
        "| streams | engine | direct | fused | empty | ensemble | throughput | req/s "
        "| of direct | CPU µs/token |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|---|---|")
    rows = []
    for streams, paths in found["rates"].items():
        best = {
            path: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            for path, runs in paths.items()
        }
        speed = streams * 1e6 / options.step_us
        kept = best["ensemble"]["tokens"] / best["direct"]["tokens"]
        tokens = " | ".join(f"{best[path]['tokens']:.0f}" for path in PATHS)
        requests = best["ensemble"]["requests"]
        costs = " / ".join(f"{best[path]['cpu_us']:.0f}" for path in PATHS)
        lines.append(
            f"| {streams} | {speed:.0f} | {tokens} | {requests:.1f} | {kept:.2f} | {costs} |"
        )
        rows.append({"streams": streams, "engine": speed, **best})
    cuts = {path: statistics.quantiles(times, n=100) for path, times in found["times"].items()}
    at = {path: {"p50": cut[49], "p99": cut[98]} for path, cut in cuts.items()}
    lines.append("")
    lines.append("Milliseconds of a stream of one token, one at a time, and how much more than:")
    lines.append("")
    lines.append("| path | p50 | direct | fused | p99 | direct | fused |")
    lines.append("|---|---|---|---|---|---|---|")
    for path in PATHS:
        cells = [path]
        for name in ("p50", "p99"):
            here = at[path][name]
            more = [f"{here - at[other][name]:+.2f}" for other in ("direct", "fused")]
            cells += [f"{here:.2f}", *more]
        lines.append(f"| {' | '.join(cells)} |")
    result = {"rates": rows, "ms": at, "step_us": options.step_us, "cores": os.cpu_count()}
    return result, "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32, 64])
    parser.add_argument("--tokens", type=int, default=64, help="tokens of each request")
    parser.add_argument("--rounds", type=int, default=3, help="requests of each stream")
    parser.add_argument("--latencies", type=int, default=200, help="requests timed, each repeat")
    parser.add_argument("--step-us", type=int, default=5000, help="microseconds of a step")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the result here")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer = folder / "tokenizer"
        tokenizer.mkdir()
        files = checkpoint.materialize(
            checkpoint.open_checkpoint("sample:smollm2", dtype="float32"), SILENT
        )
        for file in files:
            if file.path and file.name.endswith(".json"):
                (tokenizer / file.name).symlink_to(file.path.resolve())
        from tokenizers import Tokenizer

        options.ids = Tokenizer.from_file(str(tokenizer / "tokenizer.json")).encode(PROMPT).ids
        found: dict[str, Any] = {}
        with served(folder, tokenizer, options.step_us) as (url, options.pid):
            found["rates"] = rates(url, options)
        with served(folder, tokenizer, 1) as (url, options.pid):
            found["times"] = times(url, options)
    result, text = report(found, options)
    print(f"{text}\nLoad before: {load:.1f}.")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
