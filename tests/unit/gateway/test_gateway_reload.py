"""Settings that are read again while the gateway serves."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from support.fake_triton import FakeTriton, fake_triton, said, words
from support.gateways import run_as_served, serving
from support.scripted_http import END, STREAM
from trtbuild_gateway.reloading import reload
from trtbuild_gateway.settings import Settings, settings_of

SLOW = [STREAM, said("a"), 0.3, said("b", "stop"), END]


def settings(*tritons: FakeTriton, **more: object) -> Settings:
    return settings_of({"servers": [triton.url for triton in tritons], **more})


def test_a_stream_ends_on_the_server_that_is_no_longer_there() -> None:
    async def run() -> None:
        may = asyncio.Event()
        async with (
            fake_triton(m=[STREAM, said("a"), may, said("b", "stop"), END]) as old,
            fake_triton(m=words("c")) as new,
            serving(old.url) as served,
        ):
            asked = asyncio.create_task(
                served.post("/v1/completions", model="m", prompt="x", stream=True)
            )
            async with asyncio.timeout(180):
                while not old.bodies:
                    await asyncio.sleep(0.005)
            chosen = settings(new, models={"m": {"aliases": ["n"]}})
            assert await reload(served.gateway, lambda: chosen)
            other = await served.post("/v1/completions", model="n", prompt="x")
            assert other.json()["choices"][0]["text"] == "c"
            assert not asked.done()
            may.set()
            answered = await asked
            assert answered.text.endswith("data: [DONE]\n\n")
            assert '"finish_reason":"stop"' in answered.text
            assert (len(old.bodies), len(new.bodies)) == (1, 1)

    run_as_served(run())


def test_what_has_not_changed_keeps_its_connections_and_counts() -> None:
    async def run() -> None:
        async with (
            fake_triton(m=words("a")) as first,
            fake_triton(m=words("b")) as second,
            serving(first.url) as served,
        ):
            await served.post("/v1/completions", model="m", prompt="x")
            wire = served.gateway.catalog.wire(first.url)
            backend = (await served.gateway.catalog.find("m")).backend
            chosen = settings(first, second, routing={"breaker": {"failures": 2}})
            assert await reload(served.gateway, lambda: chosen)
            assert served.gateway.catalog.wire(first.url) is wire
            model = await served.gateway.catalog.find("m")
            assert model.backend is backend
            (pool,) = served.gateway.catalog.pools
            assert [(one.sent, one.turns) for one in pool.servers] == [(1, 1), (0, 1)]
            assert [one.breaker.settings.failures for one in pool.servers] == [2, 2]

    run_as_served(run())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"models": {"m": {"parser": "none such"}}}, "none such"),
        ({"models": {"m": {"fallbacks": ["m"]}}}, "its own fallback"),
        ({"models": {"m": {"url": "a:1", "servers": ["b:1"]}}}, "both 'url' and 'servers'"),
        ({"servers": ["http://[x"]}, "is not the address of a server"),
        ({"access": {"keys": "no-such-file"}}, "no-such-file"),
    ],
)
def test_wrong_settings_change_nothing(
    wrong: dict[str, object], says: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with fake_triton(m=words("a")) as triton, serving(triton.url) as served:
            before = served.gateway.settings
            chosen = settings_of({"url": "127.0.0.1:1", **wrong})
            assert not await reload(served.gateway, lambda: chosen)
            assert served.gateway.settings is before
            assert says in caplog.text
            answered = await served.post("/v1/completions", model="m", prompt="x")
            assert answered.status_code == 200
            page = (await served.client.get("/metrics")).text
            assert 'reloads_total{outcome="refused"} 1.0' in page

    run_as_served(run())


def test_what_needs_a_restart_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with fake_triton(m=words("a")) as triton, serving(triton.url) as served:
            for directory in ("first", "second"):
                chosen = settings(
                    triton,
                    batches={"directory": str(tmp_path / directory)},
                    exposures={"directory": str(tmp_path / directory)},
                )
                caplog.clear()
                assert await reload(served.gateway, lambda given=chosen: given)
                named = [record.args for record in caplog.records]
                assert ("batches",) in named
                assert (("exposures",) in named) == (directory == "second"), "the first begin now"

    run_as_served(run())


async def until(served: httpx.AsyncClient, names: list[str]) -> None:
    """Wait until these models are listed."""
    async with asyncio.timeout(180):
        while True:
            with contextlib.suppress(httpx.TransportError):
                rows = (await served.get("/v1/models")).json()["data"]
                if [row["id"] for row in rows] == names:
                    return
            await asyncio.sleep(0.02)


def test_sighup_reads_the_file_again(tmp_path: Path) -> None:
    file, log = tmp_path / "gateway.yaml", tmp_path / "log"

    async def run() -> None:
        async with fake_triton(m=SLOW) as triton:

            def write(**more: object) -> None:
                file.write_text(yaml.safe_dump({"url": triton.url, **more}))

            write()
            code = "from trtbuild.cli.app import main; main()"
            command = [sys.executable, "-c", code, "gateway", "-f", str(file), "--port", "0"]
            with log.open("w") as stderr:
                process = subprocess.Popen(command, stderr=stderr)
            try:
                async with asyncio.timeout(180):
                    while "in a browser\n" not in log.read_text():
                        await asyncio.sleep(0.02)
                place = log.read_text().split("/v1", 1)[0]
                assert f"{place}/ui/ is a page" in log.read_text()
                async with httpx.AsyncClient(base_url=place, trust_env=False) as client:
                    await until(client, ["m"])
                    write(models={"m": {"aliases": ["n"]}})
                    body = {"model": "m", "prompt": "x", "stream": True}
                    asked = asyncio.create_task(client.post("/v1/completions", json=body))
                    while not triton.bodies:
                        await asyncio.sleep(0.005)
                    process.send_signal(signal.SIGHUP)
                    await until(client, ["m", "n"])
                    assert (await asked).text.endswith("data: [DONE]\n\n")
                    file.write_text("prot: 5")
                    process.send_signal(signal.SIGHUP)
                    async with asyncio.timeout(180):
                        while "prot" not in log.read_text():
                            await asyncio.sleep(0.02)
                    await until(client, ["m", "n"])
            finally:
                process.kill()
                process.wait()

    run_as_served(run())
