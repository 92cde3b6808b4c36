"""Tokens per second through Triton and our backend against vLLM used offline.

    python benchmarks/bench_backend.py [--streams 1 4 8 16] [--repeats 3] [--json FILE]

A sample during which other programs used the cores is taken again, a few times.

Both engines have the same arguments and threads and are alive during the whole run; the
measurements take turns, so what else the machine does hits both. One engine at a time computes.
The client is as light as Python allows (gRPC aio, answers counted as bytes and parsed after the
clock stopped), but it runs on the same cores, which is counted against Triton.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil

from trtbuild import process, server
from trtbuild.client import wait_ready
from trtbuild.pipeline.convert import convert
from trtbuild.recipe import ModelRecipe
from trtbuild.server import LaunchOptions, Ports, runtime
from trtbuild.server.spinning import spin_count
from trtbuild.wire.schema import message as message_of

ENGINE = {"dtype": "float32", "max_model_len": 2048}
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"


def prompts(count: int, salt: int) -> list[str]:
    """Short prompts that differ, so that no prefix cache helps either side."""
    return [f"Story {salt} of {number}: once upon a time" for number in range(count)]


class Served:
    """The model behind Triton."""

    def __init__(self, url: str, pid: int) -> None:
        self._url = url
        self.pid = pid

    def run(self, texts: list[str], tokens: int) -> dict[str, float]:
        """All prompts at once, each on a stream of its own."""
        return asyncio.run(self._run(texts, tokens))

    async def _run(self, texts: list[str], tokens: int) -> dict[str, float]:
        requests = [_request(text, tokens) for text in texts]
        async with grpc.aio.insecure_channel(self._url) as channel:
            await channel.channel_ready()
            call = channel.stream_stream(METHOD)
            start = time.perf_counter()
            streams = await asyncio.gather(*(_read(call(), item, start) for item in requests))
            seconds = time.perf_counter() - start
        made = sum(_tokens(messages) for _, messages in streams)
        if made != tokens * len(texts):
            raise SystemExit(f"{made} tokens came, {tokens * len(texts)} were asked for")
        first = statistics.mean(first for first, _ in streams)
        return {"seconds": seconds, "tokens": made, "first": first}


async def _read(call: Any, request: bytes, start: float) -> tuple[float, list[bytes]]:
    await call.write(request)
    await call.done_writing()
    messages: list[bytes] = []
    first = 0.0
    async for message in call:
        first = first or time.perf_counter() - start
        messages.append(message)
    return first, messages


def _request(text: str, tokens: int) -> bytes:
    request = message_of("ModelInferRequest")(model_name="bench")
    sampling = json.dumps({"temperature": 0, "max_tokens": tokens, "ignore_eos": True})
    for name, kind, raw in (
        ("text_input", "BYTES", _bytes(text)),
        ("sampling_parameters", "BYTES", _bytes(sampling)),
        ("stream", "BOOL", b"\x01"),
        ("return_num_output_tokens", "BOOL", b"\x01"),
    ):
        request.inputs.add(name=name, datatype=kind, shape=[1])
        request.raw_input_contents.append(raw)
    return request.SerializeToString()


def _bytes(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(4, "little") + data


def _tokens(messages: list[bytes]) -> int:
    total = 0
    for message in messages:
        answer = message_of("ModelStreamInferResponse").FromString(message)
        if answer.error_message:
            raise SystemExit(answer.error_message)
        response = answer.infer_response
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
            if output.name == "num_output_tokens":
                total += int.from_bytes(raw, "little")
    return total


class Offline:
    """The same model in vLLM's LLM class, in a process of its own."""

    def __init__(self, worker: subprocess.Popen[str]) -> None:
        self._worker = worker
        self.pid = worker.pid

    def run(self, texts: list[str], tokens: int) -> dict[str, float]:
        """All prompts as one batch."""
        assert self._worker.stdin is not None and self._worker.stdout is not None
        print(json.dumps({"prompts": texts, "tokens": tokens}), file=self._worker.stdin, flush=True)
        return dict(json.loads(self._worker.stdout.readline()))


@contextlib.contextmanager
def served(repo: Path) -> Iterator[Served]:
    """An embedded server as `trtbuild serve` starts it."""
    options = LaunchOptions(ports=Ports(*process.free_ports(3, "127.0.0.1")), env=ENVIRONMENT)
    handle = server.launch(server.read_contents(repo), "embedded", options)
    try:
        wait_ready(handle.grpc_url, ["bench"], 300, watch=lambda: (server.watch(handle), None)[1])
        yield Served(handle.grpc_url, handle.pid)
    finally:
        server.stop(handle)


@contextlib.contextmanager
def offline(model: Path, threads: str) -> Iterator[Offline]:
    """vLLM offline with the same arguments, environment and threads."""
    installed = runtime.ensure()
    environment = {
        **os.environ,
        **ENVIRONMENT,
        "VLLM_CPU_OMP_THREADS_BIND": threads,
        "VLLM_LOGGING_LEVEL": "WARNING",
        "PATH": f"{installed.python.parent}:{os.environ['PATH']}",
    }
    worker = subprocess.Popen(
        [
            installed.python,
            Path(__file__).with_name("offline_worker.py"),
            json.dumps({"model": str(model), **ENGINE}),
        ],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert worker.stdout is not None
        json.loads(worker.stdout.readline() or "0")
        yield Offline(worker)
    finally:
        assert worker.stdin is not None
        worker.stdin.close()
        worker.wait(60)


class Quiet:
    """Takes samples again while other programs use the cores, and counts how often."""

    def __init__(self, pids: list[int], share: float, tries: int) -> None:
        self._pids = pids
        self._share = share
        self._tries = tries
        self.taken = 0
        self.disturbed = 0

    def sample(self, run: Callable[[], dict[str, float]]) -> dict[str, float]:
        """``run`` until others used less than the share of one core; its last result if never."""
        done: dict[str, float] = {}
        for _ in range(self._tries):
            time.sleep(1.5)  # vLLM's workers spin for a second after their last step
            start, own, busy = time.perf_counter(), self._own(), _busy()
            done = run()
            others = (_busy() - busy) - (self._own() - own)
            self.taken += 1
            if others < self._share * (time.perf_counter() - start) + 0.05:
                return done
            self.disturbed += 1
        return done

    def _own(self) -> float:
        found = {os.getpid(), *self._pids}
        for pid in self._pids:
            found |= {child.pid for child in psutil.Process(pid).children(recursive=True)}
        return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in found)


def _busy() -> float:
    """Seconds that all cores have worked, for anybody."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def measure(
    ours: Served, theirs: Offline, quiet: Quiet, options: argparse.Namespace
) -> dict[str, Any]:
    """Interleaved samples: rates by number of streams, and first-token times."""
    sides: dict[str, Served | Offline] = {"triton": ours, "offline": theirs}
    rates: dict[int, dict[str, list[float]]] = {}
    first: dict[str, list[float]] = {"triton": [], "offline": []}
    for side in sides.values():
        side.run(prompts(max(options.streams), 0), 8)  # warm up
    salt = 0
    for count in options.streams:
        rates[count] = {"triton": [], "offline": []}
        for repeat in range(options.repeats):
            # Taking turns at being first, too.
            for name in sorted(sides, reverse=bool(repeat % 2)):
                salt += 1
                run = functools.partial(sides[name].run, prompts(count, salt), options.tokens)
                done = quiet.sample(run)
                rates[count][name].append(done["tokens"] / done["seconds"])
    for _ in range(options.first):
        for name, side in sides.items():
            salt += 1
            done = quiet.sample(functools.partial(side.run, prompts(1, salt), 1))
            first[name].append(1000 * done.get("first", done["seconds"]))
    return {"rates": rates, "first": first}


def processor() -> str:
    """The processor's own name."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((ln.partition(":")[2].strip() for ln in lines if ln.startswith("model name")), "?")


def prefer(pids: list[int], niceness: int) -> None:
    """Give all threads of these processes, and of what they started, another priority."""
    for pid in [*pids, os.getpid()]:
        first = psutil.Process(pid)
        for one in (first, *first.children(recursive=True)):
            with contextlib.suppress(OSError):
                Path(f"/proc/{one.pid}/autogroup").write_text(str(niceness))
            for thread in one.threads():
                os.setpriority(os.PRIO_PROCESS, thread.id, niceness)


def report(found: dict[str, Any], load: float) -> tuple[dict[str, Any], str]:
    """The result as JSON, and as rows of Markdown."""
    rows = []
    lines = ["| streams | offline tok/s | Triton tok/s | ratio |", "|---|---|---|---|"]
    for count, sides in found["rates"].items():
        off, our = (statistics.median(sides[name]) for name in ("offline", "triton"))
        ratio = statistics.median(
            a / b for a, b in zip(sides["triton"], sides["offline"], strict=True)
        )
        rows.append({"streams": count, "offline": off, "triton": our, "ratio": ratio, "all": sides})
        lines.append(f"| {count} | {off:.1f} | {our:.1f} | {ratio:.2f} |")
    times = {name: statistics.median(values) for name, values in found["first"].items()}
    extra = times["triton"] - times["offline"]
    lines.append("")
    lines.append(
        f"First token at one stream: offline {times['offline']:.1f} ms, "
        f"Triton {times['triton']:.1f} ms ({extra:+.1f} ms). {os.cpu_count()} cores of "
        f"{processor()}, load before: {load:.1f}."
    )
    result = {"rates": rows, "first_token_ms": times, "load": load, "cores": os.cpu_count()}
    result["processor"] = processor()
    return result, "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--tokens", type=int, default=96, help="tokens per stream")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--first", type=int, default=15, help="repeats of the first-token time")
    parser.add_argument("--others", type=float, default=0.05, help="CPU others may use, of a core")
    parser.add_argument("--tries", type=int, default=5, help="samples to take for a quiet one")
    parser.add_argument(
        "--nice", type=int, default=0, help="priority of both engines and the client, while busy"
    )
    parser.add_argument("--source", default="sample:smollm2")
    parser.add_argument("--json", type=Path, help="also write the result here")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"GOMP_SPINCOUNT of the server: {os.environ.get('GOMP_SPINCOUNT') or spin_count()}")
    with tempfile.TemporaryDirectory() as folder:
        repo = Path(folder) / "repository"
        convert(ModelRecipe(name="bench", source=options.source, engine=ENGINE), repository=repo)
        threads = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        with served(repo) as ours, offline(repo / "bench" / "1" / "weights", threads) as theirs:
            quiet = Quiet([ours.pid, theirs.pid], options.others, options.tries)
            if options.nice:
                prefer([ours.pid, theirs.pid], options.nice)
            found = measure(ours, theirs, quiet, options)
    result, text = report(found, load)
    text += f" Samples: {quiet.taken}, of them disturbed: {quiet.disturbed}."
    result |= {"samples": quiet.taken, "disturbed": quiet.disturbed}
    print(text)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
