"""Processes are killed and stopped at random under load: every client gets an end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
import yaml

from support.gateways import run_as_served
from support.lanes import rounds
from support.paths import ROOT
from support.ports import kept

CLIENTS = 6
TOKENS = 15
PAUSE = 0.02
SERVER = f"""
import asyncio, sys
from support.fake_triton import fake_triton, said
from support.scripted_http import END, STREAM

async def main():
    tokens = [step for _ in range({TOKENS}) for step in (said("a"), {PAUSE})]
    async with fake_triton(int(sys.argv[1]), m=[STREAM, *tokens, said("b", "stop"), END]):
        await asyncio.Event().wait()

asyncio.run(main())
"""
GATEWAY = "from trtbuild.cli.app import main; main()"
# Seconds that a client may be left without an end. At rest it is less than five; a stop that
# nothing ends would last for the gateway's 600.
LONGEST = 120.0


class Processes:
    """The servers and the gateway, which can be killed and started again."""

    def __init__(self, folder: Path, ports: Sequence[int]) -> None:
        self.url = f"http://127.0.0.1:{ports[0]}"
        file = folder / "gateway.yaml"
        settings = {
            "servers": [f"127.0.0.1:{port}" for port in ports[1:]],
            "refresh_seconds": 0.2,
            "routing": {
                "first_token_seconds": 1,
                "token_seconds": 1,
                "breaker": {"failures": 2, "seconds": 0.3},
            },
        }
        file.write_text(yaml.safe_dump(settings))
        gateway = ["-c", GATEWAY, "gateway", "-f", str(file), "--port", str(ports[0])]
        self._commands = [gateway, *(["-c", SERVER, str(port)] for port in ports[1:])]
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Processes:
        self._running = [self._start(number) for number in range(3)]
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running:
            process.kill()
            process.wait()

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
        command = [sys.executable, *self._commands[number]]
        return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)

    async def disturb(self, chance: random.Random) -> str:
        """Kill a process and start it again, or stop a server for a while; return what."""
        number = chance.choice((0, 1, 1, 2, 2))
        process = self._running[number]
        if number and chance.random() < 0.4:
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(1.5)
            process.send_signal(signal.SIGCONT)
            return f"stopped {number}"
        process.kill()
        process.wait()
        await asyncio.sleep(chance.random() / 2)
        self._running[number] = self._start(number)
        return f"killed {number}"


async def one(client: httpx.AsyncClient) -> str:
    """Ask once, and return how it ended."""
    body = {"model": "m", "prompt": "x", "stream": True, "max_tokens": 99}
    try:
        async with asyncio.timeout(LONGEST + TOKENS * PAUSE):
            answered = await client.post("/v1/completions", json=body)
    except httpx.TransportError:
        return "cut"  # by the gateway's own death
    if answered.status_code != 200:
        assert answered.json()["error"]["message"]
        return "refused"
    assert answered.text.endswith("data: [DONE]\n\n"), answered.text[-300:]
    if '"error"' in answered.text:
        return "error"
    assert answered.text.count('"text":"a"') == TOKENS
    assert '"finish_reason":"stop"' in answered.text
    return "whole"


@pytest.mark.long
@pytest.mark.slow
def test_every_client_gets_an_end(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    done: list[str] = []
    ends: Counter[str] = Counter()

    async def ask(client: httpx.AsyncClient, stop: asyncio.Event) -> None:
        while not stop.is_set():
            end = await one(client)
            ends[end] += 1
            if end != "whole":
                await asyncio.sleep(0.05)

    async def ready(client: httpx.AsyncClient) -> None:
        async with asyncio.timeout(180):
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if [await one(client) for _ in range(4)] == ["whole"] * 4:
                        return
                await asyncio.sleep(0.1)

    async def main(processes: Processes) -> None:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=processes.url, trust_env=False, timeout=None, limits=limits
        ) as client:
            await ready(client)
            stop = asyncio.Event()
            asking = [asyncio.create_task(ask(client, stop)) for _ in range(CLIENTS)]
            for _ in range(rounds(3, 200)):
                done.append(await processes.disturb(chance))
                await asyncio.sleep(chance.random())
            await ready(client)
            stop.set()
            await asyncio.gather(*asking)

    with kept(3) as ports, Processes(tmp_path, ports) as processes:
        try:
            run_as_served(main(processes))
        except BaseException:
            print(f"seed {seed}: {done}, {ends}")
            raise
    assert sum(ends.values()) >= CLIENTS, f"seed {seed}: {done}, {ends}"
