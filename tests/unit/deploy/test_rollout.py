"""A rollout through a real Envoy, judged by a real Prometheus, between servers of this process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import psutil
import pytest

from support.command_line import trtbuild
from support.fake_triton import fake_triton, said, words
from support.gateways import http_client, tokenizer
from support.ports import refusing
from support.prometheus import program, selectors
from support.scripted_http import STREAM, Step, answer
from support.versions import Users, Version, stream, streamed, version
from support.waiting import wait_for_end
from trtbuild.errors import BuildError, ServerError, UnsupportedError, UsageError
from trtbuild.files import sweep
from trtbuild.process import free_ports
from trtbuild.resources import state_dir
from trtbuild.wire.failures import DeadlineError
from trtbuild.wire.response import Response
from trtbuild_deploy.jobs.rollout import (
    Measurement,
    Plan,
    Result,
    listening,
    parsed_server,
    require_promoted,
    roll_out,
)
from trtbuild_deploy.jobs.rollout.driving import _place, _serve_on
from trtbuild_deploy.jobs.rollout.measuring import chosen, seen_metrics
from trtbuild_deploy.local import Envoy, Prometheus
from trtbuild_deploy.local import program as programs
from trtbuild_deploy.settings import Settings, parse_settings

FAULTS: dict[str, Callable[[Version], None]] = {
    "proxy_errors": lambda new: new.script.__setitem__(0, answer(b"{}", 500)),
    "killed": lambda new: new.kill(),
    "slower": lambda new: new.script.insert(0, 0.5),
    "stuck": lambda new: new.script.insert(0, 3600.0),
}


@pytest.fixture
def prometheus(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = program("prometheus").parent
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def plan_for(stable: Version, new: Version, *, steps: str = "[5]", pause: float = 30) -> Plan:
    return Plan(
        stable=parsed_server(stable.address),
        canary=parsed_server(new.address),
        listen=("127.0.0.1", free_ports(1)[0]),
        settings=parse_settings(f"argo: {{steps: {steps}}}"),
        pause=pause,
        patience=pause,
        window=2 if pause < 60 else 4,
        interval=0.5,
        drain=1,
    )


@dataclass
class Watched:
    """A rollout in a thread: its measurements, its result, and when that came."""

    plan: Plan
    on: Callable[[list[Measurement]], None] = lambda _: None
    measured: list[Measurement] = field(default_factory=list)
    result: Result | None = None
    ended: float = 0
    over: threading.Event = field(default_factory=threading.Event)

    async def run(self) -> None:
        """Roll out, and keep Envoy until ``over``."""

        def tell(found: Measurement) -> None:
            self.measured.append(found)
            self.on(self.measured)

        def until(found: Result) -> None:
            self.result, self.ended = found, time.monotonic()
            self.over.wait(60)

        await asyncio.to_thread(roll_out, self.plan, on_measurement=tell, until=until)


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize(
    "fault",
    [
        "proxy_errors",
        *(pytest.param(name, marks=pytest.mark.nightly) for name in ("killed", "slower", "stuck")),
    ],
)
def test_a_version_that_fails_is_rolled_back(fault: str, prometheus: None) -> None:
    daily = fault == "proxy_errors"
    seconds, pause = (1.5, 30.0) if daily else (40.0, 60.0)
    broken: list[float] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        async with version() as stable, version() as new:

            def spoil(measured: list[Measurement]) -> None:
                if len(measured) == 3:
                    assert not any(one.failed for one in measured)
                    assert new.asked
                    broken.append(time.monotonic())
                    loop.call_soon_threadsafe(FAULTS[fault], new)

            watched = Watched(plan_for(stable, new, pause=pause), spoil)
            users = Users(f"127.0.0.1:{watched.plan.listen[1]}", 100)
            rollout = asyncio.create_task(watched.run())
            asking = asyncio.create_task(users.run())
            async with asyncio.timeout(120):
                while watched.result is None and not rollout.done():
                    await asyncio.sleep(0.01)
                # Until a hundred times as many requests were sent as may have failed.
                while time.monotonic() < watched.ended + seconds and not rollout.done():
                    await asyncio.sleep(0.01)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            watched.over.set()
            await rollout
            assert watched.result is not None
            assert not watched.result.promoted
            assert watched.result.last.failed, (watched.result, watched.measured[-8:])
            assert watched.result.why.startswith("proxy_errors" if fault == "killed" else fault)
            assert watched.ended - broken[0] < pause  # which would have led to the next step
            assert users.failed() <= len(users.sent) / 100
            assert users.failed(watched.ended) == 0
            if fault in ("proxy_errors", "killed"):
                assert users.failed() == 0  # each was repeated at the stable one

    asyncio.run(run())


@pytest.mark.slow
@pytest.mark.network
def test_a_good_version_gets_every_request_and_no_stream_is_cut(prometheus: None) -> None:
    async def run() -> None:
        async with version(*stream(10, 0.1)) as stable, version(*stream(10, 0.1)) as new:
            port = free_ports(1)[0]
            words = [stable.address, new.address, "--url", f"127.0.0.1:{port}", "--step", "50"]
            words += ["--pause", "1", "--window", "2", "--stay", "--json"]
            command = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "trtbuild", "rollout", *words, stdout=asyncio.subprocess.PIPE
            )
            users = [
                asyncio.create_task(
                    streamed(f"127.0.0.1:{port}", lambda: command.returncode is not None)
                )
                for _ in range(16)
            ]
            assert command.stdout is not None
            events = []
            async for line in command.stdout:
                events.append(json.loads(line))
                if events[-1]["event"] != "measured":
                    command.send_signal(signal.SIGTERM)
            code = await command.wait()
            counts = [await one for one in users]
            assert code == 0
            assert events[-1] == {"event": "promoted", "why": "every step passed"}
            assert {one["percent"] for one in events[:-1]} == {50, 100}
            assert [cut for _, cut in counts] == [0] * 16
            assert stable.asked
            assert new.asked
            assert sum(whole for whole, _ in counts) == stable.asked + new.asked

    asyncio.run(run())


def test_a_state_directory_that_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.joinpath("state").touch()
    monkeypatch.setenv("TRTBUILD_STATE_DIR", str(tmp_path / "state"))
    with pytest.raises(BuildError, match="rollouts") as caught:
        _place()
    assert "nothing was started" in caught.value.fix


@pytest.mark.slow
def test_an_envoy_that_was_killed_is_one_error(tmp_path: Path) -> None:
    server, listen = "127.0.0.1:9", ("127.0.0.1", free_ports(1)[0])
    with Envoy(server, server, listen, tmp_path, drain_seconds=1) as envoy:
        envoy.end()
        with pytest.raises(ServerError, match="did not take the weights"):
            envoy.weigh(5)
        plan = Plan(parsed_server(server), parsed_server(server), listen, Settings(), stay=True)
        told: list[str] = []
        with pytest.raises(ServerError, match="nothing answers users"):
            _serve_on(plan, envoy, lambda: told.append("end"))
        assert told == ["end"]
        envoy.drain()  # in `finally`: another error would hide the first


@pytest.mark.slow
@pytest.mark.network
def test_a_killed_rollout_leaves_no_program_and_its_files_go(
    prometheus: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRTBUILD_STATE_DIR", str(tmp_path))

    async def run() -> None:
        async with version() as stable, version() as new:
            words = ("-m", "trtbuild", "rollout", stable.address, new.address, "--window", "2")
            listen = f"127.0.0.1:{free_ports(1)[0]}"
            rollout = await asyncio.create_subprocess_exec(
                sys.executable, *words, "--url", listen, stdout=asyncio.subprocess.PIPE
            )
            assert rollout.stdout is not None
            assert (await rollout.stdout.readline()).startswith(b"  ")
            programs = psutil.Process(rollout.pid).children(recursive=True)
            assert {"envoy", "prometheus"} <= {one.name() for one in programs}
            (left,) = state_dir("rollouts").iterdir()
            rollout.kill()
            await rollout.wait()
            await asyncio.to_thread(wait_for_end, programs)
            assert sweep(left.parent, "rollout") == (left,)  # as the next rollout does first

    asyncio.run(run())


@pytest.mark.nightly
@pytest.mark.network
def test_a_version_that_nobody_uses_is_not_promoted(prometheus: None) -> None:
    async def run() -> None:
        async with version() as stable, version() as new:
            watched = Watched(plan_for(stable, new, pause=1))
            watched.over.set()
            await watched.run()
            assert watched.result is not None
            assert not watched.result.promoted
            assert "nothing was measured" in watched.result.why
            assert "proxy_errors" in watched.result.why

    asyncio.run(run())


@contextlib.asynccontextmanager
async def gateway(
    folder: Path, triton: str
) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """A gateway's process in front of a scripted server."""
    folder.mkdir()
    port = free_ports(1)[0]
    settings = {"port": port, "url": triton, "models": {"m": {"tokenizer": str(tokenizer())}}}
    (folder / "gateway.yaml").write_text(json.dumps(settings))
    words = ("-m", "trtbuild", "gateway", "-f", str(folder / "gateway.yaml"))
    with (folder / "log").open("w") as log:
        process = await asyncio.create_subprocess_exec(sys.executable, *words, stderr=log)
    try:
        async with http_client(f"http://127.0.0.1:{port}") as client, asyncio.timeout(60):
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get("/health/ready")).status_code == 200:
                        break
                await asyncio.sleep(0.05)
        yield f"127.0.0.1:{port}", process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.nightly
@pytest.mark.network
def test_the_old_gateway_ends_under_streams_and_cuts_none(tmp_path: Path, prometheus: None) -> None:
    slow = [STREAM, *[step for _ in range(20) for step in (said("a"), 0.1)], *words("b")[1:]]

    async def run() -> None:
        async with (
            fake_triton(m=slow) as triton,
            gateway(tmp_path / "old", triton.url) as (old, process),
            gateway(tmp_path / "new", triton.url) as (new, _),
        ):
            body = json.dumps({"model": "m", "prompt": "x", "stream": True}).encode()

            def end_old(measured: list[Measurement]) -> None:
                if measured[-1].percent == 100 and process.returncode is None:
                    process.terminate()

            plan = plan_for(Version(old, []), Version(new, []), steps="[50]", pause=3)
            watched = Watched(replace(plan, drain=30, patience=60), end_old)
            rollout = asyncio.create_task(watched.run())
            address = f"127.0.0.1:{plan.listen[1]}"
            over = asyncio.Event()
            users = [asyncio.create_task(streamed(address, over.is_set, body)) for _ in range(16)]
            async with asyncio.timeout(120):
                while watched.result is None and not rollout.done():
                    await asyncio.sleep(0.02)
            over.set()
            counts = [await one for one in users]
            watched.over.set()
            await rollout
            assert watched.result is not None
            assert watched.result.promoted, watched.result
            assert {"errors", "proxy_errors", "first_token"} <= set(watched.measured[-1].values)
            assert await process.wait() == 143
            assert sum(cut for _, cut in counts) == 0
            assert sum(whole for whole, _ in counts) >= 32

    asyncio.run(run())


@pytest.mark.nightly
@pytest.mark.network
@pytest.mark.parametrize(
    "broken",
    [
        [answer(b'{"error": "the lookup table is missing"}', 400)],  # as Triton of a failing model
        [STREAM, said("a"), "close"],  # after the first token, under status 200
    ],
    ids=["refused", "cut"],
)
def test_what_only_the_gateway_sees_rolls_back(
    tmp_path: Path, prometheus: None, broken: list[Step]
) -> None:
    async def run() -> None:
        async with (
            fake_triton(m=words("a", "b")) as good,
            fake_triton(m=broken) as bad,
            gateway(tmp_path / "old", good.url) as (old, _),
            gateway(tmp_path / "new", bad.url) as (new, _),
        ):
            body = json.dumps({"model": "m", "prompt": "x", "stream": True}).encode()
            plan = plan_for(Version(old, []), Version(new, []), steps="[50]", pause=60)
            watched = Watched(replace(plan, patience=60))
            watched.over.set()
            over = asyncio.Event()
            address = f"127.0.0.1:{plan.listen[1]}"
            user = asyncio.create_task(streamed(address, over.is_set, body))
            async with asyncio.timeout(120):
                await watched.run()
            over.set()
            await asyncio.gather(user, return_exceptions=True)
            assert watched.result is not None
            assert not watched.result.promoted
            assert "errors" in watched.result.last.failed

    asyncio.run(run())


@pytest.mark.parametrize(
    ("typed", "code", "told"),
    [
        (("a", "127.0.0.1:1"), 2, "'a' is not HOST:PORT"),
        (("https://a:1", "127.0.0.1:1"), 2, "'https://a:1' is not HOST:PORT"),
        (("127.0.0.1:1", "127.0.0.1:x"), 2, "'127.0.0.1:x' is not HOST:PORT"),
        (("http://u:k@127.0.0.1:1", "127.0.0.1:2"), 2, "has a login"),
        (("a:1", "b:2", "--canary-metrics", "http://u:k@b:2/m"), 2, "--canary-metrics has a login"),
        (("a:1", "b:2", "--stable-metrics", "b:2"), 2, "--stable-metrics 'b:2' is not an address"),
        (("127.0.0.1:1", "127.0.0.1:2", "--step", "50", "--step", "5"), 2, "do not rise"),
        (("a:1", "b:2", "--url", f"{'a' * 99}:1"), 2, "is not an address of this machine"),
        (("127.0.0.1:1", "127.0.0.1:2", "-f", "absent.yaml"), 3, "absent.yaml"),
    ],
)
def test_wrong_words_are_refused(typed: tuple[str, ...], code: int, told: str) -> None:
    done = trtbuild("rollout", *typed)
    assert done.returncode == code
    assert told in done.stderr


def test_envoy_listens_on_an_address_where_a_name_was_given() -> None:
    assert listening("localhost:8080") == ("127.0.0.1", 8080)
    assert listening("http://[::1]:8080/") == ("::1", 8080)
    assert parsed_server("localhost:8080").address == "localhost:8080"


def test_what_it_needs_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def run() -> None:
        async with version() as stable, version() as new:
            plan = plan_for(stable, new)
            with refusing() as port:
                absent = replace(plan, canary=parsed_server(f"127.0.0.1:{port}"))
                with pytest.raises(ServerError, match="the new server is not ready"):
                    await asyncio.to_thread(roll_out, absent)
            with pytest.raises(UsageError, match="is taken by"):
                await asyncio.to_thread(roll_out, replace(plan, listen=listening(stable.address)))
            same = parsed_server(stable.address.replace("127.0.0.1", "localhost"))
            for other, told in (
                (replace(plan, canary=same), "both servers are"),
                (replace(plan, listen=("192.0.2.1", 8080)), "is not an address of this machine"),
            ):
                with pytest.raises(UsageError, match=told):
                    await asyncio.to_thread(roll_out, other)
            monkeypatch.setenv("PATH", str(tmp_path))
            monkeypatch.setattr(programs.sys, "executable", str(tmp_path / "python"))
            with pytest.raises(UnsupportedError) as caught:
                await asyncio.to_thread(roll_out, plan)
            assert "trtbuild[rollout]" in caught.value.fix

    asyncio.run(run())


def test_a_late_answer_of_prometheus_ends_no_rollout(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"status": "success", "data": {"result": [{"value": [0, "0.5"]}]}}'
    late = 2

    def ask(*_: object) -> Response:
        nonlocal late
        late -= 1
        if late >= 0:
            raise DeadlineError("no complete answer within 5 s")
        return Response(200, body=body)

    prometheus = Prometheus.__new__(Prometheus)
    prometheus.address = "127.0.0.1:1"
    monkeypatch.setattr(Prometheus, "ask", ask)
    assert prometheus.value("up") == 0.5
    late = 9
    with pytest.raises(ServerError, match="did not answer a query"):
        prometheus.value("up")


def test_whoever_has_no_users_is_told_to_send_some() -> None:
    nobody = Result(promoted=False, why="nothing was measured", last=Measurement(5, {}, ()))
    with pytest.raises(ServerError) as caught:
        require_promoted(nobody)
    assert "--url" in caught.value.fix


def test_what_is_measured_exists_and_is_argos_table() -> None:
    gateway = "# TYPE trtbuild_gateway_requests_total counter"
    alone = {one.name: one for one in chosen(seen_metrics(), Settings(), 5)}
    assert set(alone) == {"proxy_errors", "stuck", "slower"}
    both = {one.name: one for one in chosen(seen_metrics(gateway), Settings(), 5)}
    assert set(both) == {"errors", *alone}
    # Triton answers 400 to what failed, a gateway to what a client did wrong.
    assert '!="2"' in alone["proxy_errors"].query
    assert '!~"[24]"' in both["proxy_errors"].query
    for one in both.values():
        assert "[5000ms]" in one.query
        for _, labels in selectors(one.query):
            assert "version" in labels
