"""Models of adapters behind the gateway: real workers, one tiny adapter."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import pytest

from support.adapters_made import write_registry
from support.gateways import Served, run_as_served, serving
from support.paths import ROOT
from support.pictures import file_of, halves, text_of
from support.waiting import runs, wait_for, wait_for_end
from trtbuild_dialects.samples import silent_wav
from trtbuild_gateway.reloading import reload

# As docs/guides/adapters.md has it for a checkpoint without a template.
TEXT_ONLY = next(
    part.partition("```")[0]
    for part in (ROOT / "docs/guides/adapters.md").read_text().split("```jinja\n")[1:]
)
PNG = text_of(file_of(halves()))


def behind(path: Path, test: Callable[[Served], Awaitable[None]], **settings: Any) -> None:
    """Run a test with a gateway that has only the models of a registry."""

    async def run() -> None:
        async with serving("", registry=str(path), **settings) as served:
            try:
                await test(served)
            finally:
                await served.gateway.catalog.close()

    run_as_served(run())


async def chat(served: Served, text: Any, model: str = "m", **more: Any) -> Any:
    return await served.post("/v1/chat/completions", model=model, messages=said(text), **more)


def said(text: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def deltas(answer: httpx.Response) -> list[dict[str, Any]]:
    """The changes of a chat's stream, which must have ended well."""
    *events, end = [row[6:] for row in answer.text.splitlines() if row.startswith("data: ")]
    assert end == "[DONE]"
    return [json.loads(event)["choices"][0]["delta"] for event in events]


async def load(served: Served, model: str = "m", **more: Any) -> Any:
    return await served.control.post("/v1/model/load", json={"model": model, **more})


async def state(served: Served, model: str = "m") -> Any:
    return (await served.control.get(f"/v1/model/state/{model}")).json()


async def until(served: Served, wanted: str, model: str = "m") -> Any:
    async with asyncio.timeout(180):
        while (found := await state(served, model))["state"] != wanted:
            await asyncio.sleep(0.02)
    return found


async def until_used(served: Served) -> Any:
    async with asyncio.timeout(180):
        while "rss_bytes" not in (found := await state(served)).get("usage", {}):
            await asyncio.sleep(0.05)
    return found


def worker(served: Served, model: str = "m") -> psutil.Process:
    assert served.gateway.catalog.workers is not None
    pid = served.gateway.catalog.workers.pid(f"adapter:{model}")
    assert pid is not None
    return psutil.Process(pid)


@pytest.mark.slow
def test_a_model_of_an_adapter_is_loaded_asked_and_unloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_OURS", "leaked")

    async def test(served: Served) -> None:
        first = await chat(served, "Hello")
        assert first.status_code == 503, first.text
        assert (await state(served))["state"] == "unloaded"
        loaded = await load(served)
        assert loaded.status_code == 200, loaded.text
        assert loaded.json()["state"] == "ready"
        process = worker(served)

        whole = (await chat(served, "Hello")).json()
        assert whole["choices"][0]["message"]["content"] == f"pid {process.pid} no secret"
        assert whole["choices"][0]["finish_reason"] == "stop"
        assert whole["usage"]["completion_tokens"] == 4
        streamed = await chat(served, "Hello", stream=True)
        pieces = deltas(streamed)
        assert "".join(piece.get("content") or "" for piece in pieces).endswith("no secret")

        assert (await load(served, "e")).status_code == 200
        vectors = (await served.post("/v1/embeddings", model="e", input=["abc", "de"])).json()
        assert [row["embedding"] for row in vectors["data"]] == [[3.0, 0.5], [2.0, 0.5]]

        assert (await load(served, "r")).status_code == 200
        for documents, best in ((["long one", "one"], [1, 0]), (["one"], [0])):
            ranked = await served.post("/v1/rerank", model="r", query="q", documents=documents)
            assert [row["index"] for row in ranked.json()["results"]] == best, ranked.text

        assert (await load(served, "c")).status_code == 200
        for given, sure in (({"input": ["abc", "de"]}, 0.7), ({"input": "abc"}, 0.7)):
            row = (await served.post("/v1/classify", model="c", **given)).json()["data"][0]
            assert (row["label"], row["labels"]) == ("short", ["long", "short"])
            assert row["probs"] == pytest.approx([1 - sure, sure])
        assert (await load(served, "t")).status_code == 200
        form = {"model": "t", "language": "de", "prompt": "Ada", "response_format": "verbose_json"}
        path = "/v1/audio/transcriptions"
        file = {"file": ("a.wav", base64.b64decode(silent_wav()))}
        heard = (await served.client.post(path, data=form, files=file)).json()
        assert heard["text"].startswith("de Ada False ") and heard["duration"] == 1.5
        assert [(part["start"], part["end"]) for part in heard["segments"]] == [(0.0, 1.5)]

        refused = await chat(served, "refuse")
        assert (refused.status_code, "no such prompt" in refused.text) == (400, True)
        unknown = await chat(served, "Hello", top_p=0.5)
        assert (unknown.status_code, "top_p" in unknown.text) == (400, True)
        assert (await chat(served, "break")).status_code == 500

        assert (await load(served, "v")).status_code == 200
        picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}

        async def about(text: str, **more: Any) -> Any:
            parts = [picture, {"type": "text", "text": text}]
            return await chat(served, parts, model="v", **more)

        seen = await about("ocr")
        assert seen.status_code == 200, seen.text
        message = seen.json()["choices"][0]["message"]
        assert (message["content"], message["boxes"]) == (f"1 image of {len(PNG)}: ocr", [])
        marks = "<|ref|>cat<|/ref|><|det|>[[0, 333, 999, 666]]<|/det|>"
        box = {"label": "cat", "left": 0.0, "top": 0.3333, "right": 1.0, "bottom": 0.6667}
        message = (await about(marks)).json()["choices"][0]["message"]
        assert message["content"].endswith(marks) and message["boxes"] == [box]
        *changes, last = deltas(await about(f"{marks} <|ref|>dog", stream=True))
        assert "".join(one.get("content", "") for one in changes).endswith("<|ref|>dog")
        assert changes[-1] == {"boxes": [box]} and last == {}

        used = (await until_used(served))["usage"]
        assert used["processes"] >= 1
        assert used["engine_running"] == 0
        assert used["rss_bytes"] > 0

        gone = await served.control.post("/v1/model/unload", json={"model": "m"})
        assert gone.json()["state"] == "unloaded", gone.text
        assert not process.is_running()
        assert (await chat(served, "Hello")).status_code == 503

    template = tmp_path / "text.jinja"
    template.write_text(TEXT_ONLY)
    registry = write_registry(
        tmp_path,
        m={},
        e={"options": {"task": "embed"}},
        r={"options": {"task": "rerank"}},
        c={"options": {"task": "classify"}},
        t={"options": {"task": "transcribe"}},
        v={"options": {"images": True, "boxes": "ref-det"}, "chat_template": str(template)},
    )
    behind(registry, test, refresh_seconds=0.2)


async def fails(served: Served, text: str) -> None:
    """Ask for a stream, and require an error that the client sees before it gives up."""
    answer = await chat(served, text, stream=True)
    assert answer.status_code >= 500 or '"error"' in answer.text, answer.text


@pytest.mark.slow
def test_a_worker_that_dies_or_hangs_is_started_again(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        assert (await load(served)).status_code == 200
        for how in ("die", "hang", "ill"):
            before = worker(served)
            (child,) = before.children()
            await fails(served, how)
            async with asyncio.timeout(180):
                while served.gateway.catalog.workers.pid("adapter:m") in (None, before.pid):  # type: ignore[union-attr]
                    await asyncio.sleep(0.02)
            await until(served, "ready")
            assert not runs(child), how
            assert (await chat(served, "Hello")).status_code == 200

        before = worker(served)
        before.kill()
        await until(served, "failed")
        # An unload in the moment in which the next worker starts leaves none.
        gone = await served.control.post("/v1/model/unload", json={"model": "m"})
        assert gone.json()["state"] == "unloaded", gone.text
        assert served.gateway.catalog.workers.pid("adapter:m") is None  # type: ignore[union-attr]

        workers = served.gateway.catalog.workers
        assert workers is not None
        workers.adopt(limited, jit_install=False)
        assert (await load(served)).status_code == 200
        worker(served).kill()
        async with asyncio.timeout(180):
            while "not started again" not in (await state(served)).get("reason", ""):
                await asyncio.sleep(0.05)
        assert (await load(served)).status_code == 200

    options = {"fork": True}
    (tmp_path / "limited").mkdir()
    limited = write_registry(tmp_path / "limited", m={"limits": {"restarts": 0}})
    behind(write_registry(tmp_path, m={"options": options}), test)


@pytest.mark.slow
def test_a_load_that_fails_says_why_and_leaves_the_old_worker(tmp_path: Path) -> None:
    def write(**options: Any) -> Path:
        return write_registry(
            tmp_path,
            m={"options": options, "limits": {"drain_seconds": 3}},
            absent={"adapter": "nothing-adapter"},
            other={"framework": "vllm"},
            gone={"backend_class": "echo_adapter.missing:Echo"},
            none={"backend_class": "json:JSONDecoder"},
        )

    path = write()

    async def test(served: Served) -> None:
        both = await asyncio.gather(load(served), load(served))
        assert [one.status_code for one in both] == [200, 200]
        assert both[0].json()["job"]["id"] == both[1].json()["job"]["id"]
        old = worker(served)
        workers = served.gateway.catalog.workers
        assert workers is not None

        workers.adopt(write(fail="no such weights"), jit_install=True)
        refused = await load(served)
        assert refused.status_code == 502
        assert "ValueError: no such weights" in refused.text
        assert "goes on serving" in refused.text
        assert worker(served) == old
        assert (await chat(served, "Hello")).status_code == 200

        workers.adopt(write(), jit_install=True)
        stream = asyncio.create_task(chat(served, "wait", stream=True))
        async with asyncio.timeout(180):
            while not (await state(served))["requests_in_flight"]:
                await asyncio.sleep(0.01)
        assert (await load(served)).status_code == 200
        assert worker(served) != old
        assert not stream.done()  # it stays with the old worker, for a while
        async with asyncio.timeout(180):
            while runs(old):
                await asyncio.sleep(0.02)
        cut = (await stream).text
        assert '"error"' in cut, cut[-500:]

        for model, words in (
            ("absent", "no package offers the adapter 'nothing-adapter'"),
            ("other", "is for echo, and the registry asks for vllm"),
            ("gone", "No module named 'echo_adapter.missing'"),
            ("none", "json:JSONDecoder is not a subclass"),
        ):
            answer = await load(served, model)
            assert (answer.status_code, words in answer.text) == (502, True), answer.text
        assert (await load(served, "nowhere")).status_code == 404

    behind(path, test)


@pytest.mark.slow
def test_workers_end_with_a_gateway_that_is_killed(tmp_path: Path) -> None:
    registry = write_registry(tmp_path, m={"preload": True, "options": {"fork": True}})
    settings = tmp_path / "gateway.yaml"
    settings.write_text(f"url: ''\nregistry: {registry.name}\nport: 0\njit_install: never\n")
    argv = [sys.executable, "-m", "trtbuild", "gateway", "-f", str(settings)]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as gateway:
        try:
            assert gateway.stderr is not None
            url = gateway.stderr.readline().partition("/v1")[0]
            models = f"{url}/v1/models"
            wait_for(lambda: httpx.get(models, trust_env=False, timeout=60).json()["data"])
            # The worker, and what it has started.
            wait_for(lambda: len(workers_below(gateway.pid)) == 2)
            family = workers_below(gateway.pid)
        finally:
            gateway.kill()
        wait_for_end(family)


def workers_below(pid: int) -> list[psutil.Process]:
    """What a gateway has started, without the shells that end a session if it dies, and their
    naps."""
    found = []
    for one in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # a nap that is over
            above = one.parent()
            if "sh" not in (one.name(), above.name() if above else ""):
                found.append(one)
    return found


def test_a_model_that_leaves_the_registry_is_unloaded(tmp_path: Path) -> None:
    path = write_registry(tmp_path, m={}, n={})

    async def test(served: Served) -> None:
        assert (await load(served)).status_code == 200
        process = worker(served)
        write_registry(tmp_path, n={})
        current = served.gateway.settings
        models = {name: one for name, one in current.models.items() if name != "m"}
        changed = msgspec.structs.replace(current, models=models)
        assert await reload(served.gateway, lambda: changed)
        async with asyncio.timeout(180):
            while runs(process):
                await asyncio.sleep(0.02)
        assert (await chat(served, "Hello")).status_code == 404
        assert (await load(served)).status_code == 404
        assert (await load(served, "n")).status_code == 200

    behind(path, test)
