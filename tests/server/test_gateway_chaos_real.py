"""A real engine, its server, an adapter's worker and the gateway are killed at random under load.

Every client gets an answer, an error or a cut connection soon after: never a silence.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from support import triton
from support.adapters_made import shipped
from support.gateways import run_as_served
from support.ports import kept

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(3600)]

ROUNDS = int(os.environ.get("TRTBUILD_CHAOS_ROUNDS", "4"))  # of each victim
MODELS = {"smollm2": 4, "naive": 2}  # clients of each
KILLERS = {"smollm2": ("server", "engine"), "naive": ("worker", "gateway")}
"""Two at work at the same time: what each kills while its model answers."""
SECONDS = 5.0  # from a kill to the end of every request that it hits
QUIET = 40.0  # the longest silence at all: a queue of prompts on two busy cores
GATEWAY = "from trtbuild.cli.app import main; main()"


@dataclass
class Asking:
    """One request of a client; times are of the monotonic clock."""

    model: str
    began: float
    last: float
    ended: float = 0.0
    end: str = ""
    quiet: float = 0.0  # the longest time without a line

    def heard(self) -> None:
        """Note that something came, or that it ended."""
        now = time.monotonic()
        self.quiet = max(self.quiet, now - self.last)
        self.last = now


class Load:
    """Clients that ask one after another, and every request of theirs."""

    def __init__(self, url: str) -> None:
        self.requests: list[Asking] = []
        self.stop = asyncio.Event()
        self._url = url

    async def client(self, model: str) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=None) as client:
            while not self.stop.is_set():
                now = time.monotonic()
                one = Asking(model, now, now)
                self.requests.append(one)
                try:
                    async with asyncio.timeout(600):
                        one.end = await self._ask(client, one)
                except httpx.TransportError:
                    one.end = "cut"  # by the gateway's own death
                one.heard()
                one.ended = one.last
                if one.end != "whole":
                    await asyncio.sleep(0.2)

    async def _ask(self, client: httpx.AsyncClient, one: Asking) -> str:
        body = {"model": one.model, "prompt": "Once upon a time", "max_tokens": 32, "stream": True}
        body |= {"ignore_eos": True, "temperature": 0}
        url = f"{self._url}/v1/completions"
        async with client.stream("POST", url, json=body) as answer:
            lines = []
            async for line in answer.aiter_lines():
                one.heard()
                lines.append(line)
        text = "\n".join(lines)
        if answer.status_code != 200:
            assert '"message"' in text, text
            return "refused"
        assert text.rstrip().endswith("data: [DONE]"), text[-300:]
        return "error" if '"error"' in text else "whole"

    def open(self, model: str) -> bool:
        """Whether a request of the model has had a token and is not at its end."""
        return any(
            one.model == model and not one.end and one.last > one.began for one in self.requests
        )


class Things:
    """What can be killed, and started again on the same ports."""

    def __init__(self, folder: Path, repository: Path, ports: Sequence[int]) -> None:
        self.url = f"http://127.0.0.1:{ports[0]}"
        self.file = folder / "gateway.yaml"
        self._folder, self._repository, self._ports = folder, repository, ports
        self._lives = 0
        self._serving = contextlib.ExitStack()
        self._orphans: list[psutil.Process] = []
        self.server: triton.Triton
        self.gateway: subprocess.Popen[bytes]

    def __enter__(self) -> Things:
        self._start_server()
        self._start_gateway()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(psutil.Error):
            for process in self._below():
                process.kill()
        self.gateway.kill()
        self.gateway.wait()
        self._serving.close()

    def _start_server(self) -> None:
        self._lives += 1
        work = self._folder / f"life{self._lives}"
        work.mkdir()
        context = triton.serving(self._repository, work, vision=True, ports=self._ports[1:])
        self.server = self._serving.enter_context(context)

    def _start_gateway(self) -> None:
        command = ["gateway", "-f", str(self.file), "--port", str(self._ports[0])]
        with (self._folder / "gateway.log").open("ab") as log:
            self.gateway = subprocess.Popen(
                [sys.executable, "-c", GATEWAY, *command], stderr=log, stdout=log
            )

    def kill(self, victim: str) -> None:
        """End one without warning."""
        if victim == "gateway":
            self._orphans = self._below()
            self.gateway.kill()
        elif victim == "server":
            self.server.process.kill()
        else:
            self._process(victim).kill()

    def _process(self, victim: str) -> psutil.Process:
        if victim == "engine":
            return next(p for p in self.server.children() if "EngineCore" in triton.title(p))
        return next(p for p in self._below() if "start.py" in triton.title(p))

    def _below(self) -> list[psutil.Process]:
        return psutil.Process(self.gateway.pid).children(recursive=True)

    def holders(self) -> Counter[str]:
        """Who still has a connection to the server's HTTP port, on the server's side."""
        open_ones = psutil.net_connections("tcp")
        at_server = (one for one in open_ones if one.laddr[1] == self._ports[1] and one.raddr)
        return Counter(
            f"{one.status} {triton.title(psutil.Process(one.pid)) if one.pid else 'nobody'}"
            for one in at_server
        )

    def revive(self, victim: str) -> None:
        """Start it again; a worker is the gateway's own business."""
        if victim == "gateway":
            self.gateway.wait()
            _, left = psutil.wait_procs(self._orphans, 60)
            assert not left, f"the gateway's death left {left}"
            self._start_gateway()
        elif victim == "server":
            self._serving.close()
            self._start_server()
        elif victim == "engine":
            deadline = time.monotonic() + 60
            while self.server.ready("smollm2"):
                assert time.monotonic() < deadline, "the server says ready without its engine"
                time.sleep(0.2)
            status, text = self.server.control("load", "smollm2")
            assert status == 200, f"{text}\n{self.server.log.read_text()[-3000:]}"


@pytest.fixture
def things(smollm2: Path, tmp_path: Path) -> Iterator[Things]:
    repository = tmp_path / "repository"
    arguments = {"dtype": "float32", "max_model_len": 256, "enforce_eager": True}
    triton.write_model(repository, "smollm2", smollm2, arguments)
    python = shipped(tmp_path / "env", "transformers", triton.site_packages())
    naive = {"adapter": "transformers-adapter", "source": str(smollm2), "preload": True}
    naive |= {"options": {"dtype": "float32"}, "limits": {"restarts": 1000}}
    registry = tmp_path / "registry.yaml"
    adapters = {"transformers-adapter": {"python": str(python)}}
    registry.write_text(yaml.safe_dump({"models": {"naive": naive}, "adapters": adapters}))
    with kept(4) as ports:
        made = Things(tmp_path, repository, ports)
        settings: dict[str, Any] = {
            "url": f"127.0.0.1:{ports[1]}",
            "repository": str(repository),
            "registry": str(registry),
            "refresh_seconds": 0.5,
            "routing": {"token_seconds": 4, "breaker": {"failures": 2, "seconds": 1}},
        }
        made.file.write_text(yaml.safe_dump(settings))
        with made:
            yield made


class Killer:
    """Kills what serves one model, at random, and starts it again."""

    def __init__(self, model: str, things: Things, load: Load, chance: random.Random) -> None:
        self.hits: Counter[str] = Counter()
        self.slowest: Counter[str] = Counter()
        self._model, self._things, self._load = model, things, load
        self._chance = chance

    async def work(self, say: Callable[[str], None]) -> None:
        """Kill each of its victims ``ROUNDS`` times; the model answers after each."""
        victims = [*KILLERS[self._model]] * ROUNDS
        for number, victim in enumerate(self._chance.sample(victims, len(victims)), 1):
            said = await self._kill(victim)
            say(f"{self._model} {number} of {len(victims)}: {victim} killed, {said}")
            await asyncio.to_thread(self._things.revive, victim)
            await self._whole()

    async def _whole(self) -> None:
        """Wait until the model has given a whole answer."""
        now = time.monotonic()
        async with asyncio.timeout(600):
            while not any(
                one.end == "whole" and one.model == self._model and one.began > now
                for one in self._load.requests
            ):
                await asyncio.sleep(0.1)

    async def _kill(self, victim: str) -> str:
        async with asyncio.timeout(600):
            while not self._load.open(self._model):
                await asyncio.sleep(0.01)
        await asyncio.sleep(self._chance.random())
        models = list(MODELS) if victim == "gateway" else [self._model]
        hit = [one for one in self._load.requests if one.model in models and not one.end]
        at = time.monotonic()
        self._things.kill(victim)
        while time.monotonic() < at + SECONDS and not all(one.end for one in hit):
            await asyncio.sleep(0.01)
        left = [one for one in hit if not one.end and one.last < at]
        nobody = f"{len(left)} of {len(hit)} hear nothing; {self._things.holders()}"
        assert not left, f"{victim}: {nobody}"
        ends = Counter(one.end or "goes on" for one in hit)
        self.hits.update({f"{victim}: {end}": count for end, count in ends.items()})
        last = max((round(1000 * (one.ended - at)) for one in hit if one.end), default=0)
        self.slowest[victim] = max(self.slowest[victim], last)
        return f"{dict(ends)}, the last after {last} ms"


def test_no_client_waits_in_silence(things: Things, capfd: pytest.CaptureFixture[str]) -> None:
    seed = random.randrange(2**32)
    load, began = Load(things.url), time.monotonic()
    killers = [Killer(model, things, load, random.Random(f"{seed} {model}")) for model in MODELS]

    def say(text: str) -> None:
        with capfd.disabled():
            print(f"{time.monotonic() - began:5.0f} s  {text}", flush=True)

    async def main() -> None:
        clients = [
            asyncio.create_task(load.client(model))
            for model, count in MODELS.items() for _ in range(count)
        ]  # fmt: skip
        async with asyncio.TaskGroup() as working:
            for killer in killers:
                working.create_task(killer.work(say))
        load.stop.set()
        await asyncio.gather(*clients)

    try:
        run_as_served(main())
    finally:
        hits, slowest = (dict(sum(found, Counter())) for found in (
            [killer.hits for killer in killers], [killer.slowest for killer in killers]
        ))  # fmt: skip
        ends = dict(Counter(one.end for one in load.requests))
        say(f"seed {seed}: {ends}; hit: {hits}; ms to the last end: {slowest}")
    quiet = [one for one in load.requests if one.quiet > QUIET and one.end != "whole"]
    assert not quiet, quiet
