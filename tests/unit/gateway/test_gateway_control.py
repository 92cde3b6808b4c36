"""Loading and unloading models over the control port, in front of a scripted server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import re
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from support.access import add_key, bearer
from support.command_line import trtbuild
from support.fake_triton import FakeTriton, fake_triton, said, words
from support.gateways import Served, in_front, run_as_served, serving, tokenizer
from support.paths import ROOT
from support.scripted_http import END, STREAM, Step, answer
from trtbuild.errors import UsageError
from trtbuild_gateway import models_cli
from trtbuild_gateway.access.keys import digest_of
from trtbuild_gateway.access_settings import AccessSettings, Limits
from trtbuild_gateway.control import gate as gates
from trtbuild_gateway.control.app import LoadRequest, UnloadRequest
from trtbuild_gateway.failures import ApiError
from trtbuild_gateway.reloading import reload
from trtbuild_gateway.seams import Call, Caller, OpenGate
from trtbuild_gateway.settings import ControlSettings, Settings, settings_of

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
UNLOADED = {"name": "m", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"}
READY = {"name": "m", "version": "1", "state": "READY"}
FINE = [answer(b"")]


def controlled(triton: FakeTriton, *, load: Sequence[Step] = FINE, after: Any = READY) -> None:
    """Have the server load and unload ``m`` as asked."""

    def control(action: str, _: str) -> Sequence[Step]:
        triton.index = [after if action == "load" else UNLOADED]
        return load if action == "load" else FINE

    triton.control = control


async def post(served: Served, action: str, **body: Any) -> httpx.Response:
    return await served.control.post(f"/v1/model/{action}", json={"model": "m", **body})


async def state(served: Served) -> Any:
    return (await served.control.get("/v1/model/state/m")).json()


async def until(served: Served, wanted: str) -> Any:
    async with asyncio.timeout(180):
        while (found := await state(served))["state"] != wanted:
            await asyncio.sleep(0.01)
    return found


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_a_model_is_warm_before_clients_can_ask_for_it() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        controlled(triton)
        triton.index = [UNLOADED]
        first = (await served.control.get("/v1/model/list")).json()
        assert [(row["id"], row["state"]) for row in first["data"]] == [("m", "unloaded")]
        job = asyncio.create_task(post(served, "load"))
        async with asyncio.timeout(180):
            while not triton.bodies:
                await asyncio.sleep(0.01)
        found = await state(served)
        assert (found["state"], found["job"]["phase"]) == ("loading", "warming up")
        assert code(await served.post("/v1/chat/completions", **CHAT)) == (503, "model_not_ready")
        loaded = await job
        assert loaded.status_code == 200, loaded.text
        body = loaded.json()
        assert body["state"] == "ready"
        assert body["versions"] == [{"version": "1", "state": "READY"}]
        assert body["job"]["status"] == "done"
        assert body["job"]["warm_up_seconds"] >= 0.2
        assert (await served.post("/v1/chat/completions", **CHAT)).status_code == 200
        assert json.loads(triton.bodies[0]["sampling_parameters"])["max_tokens"] == 1
        assert triton.controlled == [("load", "m", b"{}")]

    in_front(test, script=[STREAM, 0.3, said("a", "stop"), END])


def test_a_load_that_fails_leaves_the_old_model_serving() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        reason = b'{"error": "failed to load \'m\', Not found: no model.py"}'
        controlled(triton, load=[answer(reason, 400)])
        refused = await post(served, "load")
        assert code(refused) == (502, "refused_by_server")
        message = refused.json()["error"]["message"]
        assert "no model.py; the model" not in message
        assert "the model that was loaded before goes on serving" in message
        assert "no model.py" in message
        assert (await served.post("/v1/chat/completions", **CHAT)).status_code == 200
        found = await state(served)
        assert found["state"] == "ready"
        assert found["job"]["status"] == "failed"

    in_front(test)


def test_a_model_that_does_not_answer_is_not_offered() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        controlled(triton)
        triton.index = [UNLOADED]
        assert code(await post(served, "load")) == (502, "no_answer")
        assert (await state(served))["state"] == "failed"
        refused = await served.post("/v1/chat/completions", **CHAT)
        assert code(refused) == (503, "model_not_ready")
        assert "does not answer" in refused.json()["error"]["message"]
        triton.scripts["m"] = words("a")
        assert (await post(served, "load", warm_up=False)).status_code == 200
        assert (await served.post("/v1/chat/completions", **CHAT)).status_code == 200

    in_front(test, script=["close"])


def test_a_model_that_did_not_answer_is_offered_once_its_server_was_restarted() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        controlled(triton)
        triton.index = [UNLOADED]
        assert code(await post(served, "load")) == (502, "no_answer")
        triton.scripts["m"] = words("a")
        requests = served.gateway.catalog.requests(triton.url, "m")
        assert requests.refusal
        triton.index = [UNLOADED]
        async with asyncio.timeout(180):
            while requests.refusal:
                await asyncio.sleep(0.02)
        triton.index = [READY]
        await until(served, "ready")
        assert (await served.post("/v1/chat/completions", **CHAT)).status_code == 200

    in_front(test, script=["close"], refresh_seconds=0.05)


def test_a_load_goes_on_when_its_client_leaves() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        controlled(triton, load=[0.2, answer(b"")])
        triton.index = [UNLOADED]
        with pytest.raises(httpx.ReadTimeout):
            await served.control.post("/v1/model/load", json={"model": "m"}, timeout=0.1)
        await until(served, "ready")

    in_front(test)


def test_two_loads_at_once_are_one_job_and_an_unload_has_to_wait() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        may = asyncio.Event()
        controlled(triton, load=[may, answer(b"")])
        triton.index = [UNLOADED]
        started = await post(served, "load", wait=False)
        assert started.status_code == 202
        job = started.json()["job"]
        assert job["status"] == "running"
        busy = await post(served, "unload")
        assert code(busy) == (409, "model_busy")
        assert job["id"] in busy.json()["error"]["message"]
        joining = asyncio.create_task(post(served, "load"))
        await asyncio.sleep(0.05)
        may.set()
        second = await joining
        assert second.json()["job"]["id"] == job["id"]
        assert len(triton.controlled) == 1

    in_front(test)


def test_an_unload_waits_for_open_requests_and_then_cancels_them() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        controlled(triton)
        streams = [
            asyncio.create_task(served.post("/v1/chat/completions", **CHAT, stream=True))
            for _ in range(2)
        ]
        requests = served.gateway.catalog.requests(triton.url, "m")
        async with asyncio.timeout(180):
            while len(requests) < 2:
                await asyncio.sleep(0.01)
        job = asyncio.create_task(post(served, "unload", seconds=2))
        found = await until(served, "unloading")
        assert found["requests_in_flight"] == 2
        assert triton.controlled == []
        assert code(await served.post("/v1/chat/completions", **CHAT)) == (503, "model_not_ready")
        body = (await job).json()
        assert (body["state"], body["job"]["cancelled"]) == ("unloaded", 2)
        for stream in streams:
            assert "was unloaded before the answer was complete" in (await stream).text
        assert triton.left == 2
        assert json.loads(triton.controlled[0][2]) == {"parameters": {"unload_dependents": True}}
        assert code(await served.post("/v1/chat/completions", **CHAT)) == (503, "model_not_ready")
        assert (await post(served, "unload")).status_code == 200

    in_front(test, script=[STREAM, said("Hel"), "hold"])


def test_an_unload_that_does_not_end_says_so() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        kept = {**READY, "state": "UNLOADING"}

        def unloads(*_: str) -> Any:
            triton.index = [kept]
            return FINE

        triton.control = unloads
        assert code(await post(served, "unload")) == (504, "unload_timeout")
        assert (await state(served))["state"] == "unloading"
        controlled(triton)
        assert (await post(served, "load")).json()["state"] == "ready"

    in_front(test, control={"unload_seconds": 0.3})


def test_one_of_several_servers_is_named_and_the_other_goes_on_serving() -> None:
    async def main() -> None:
        async with fake_triton(m=words("a")) as one, fake_triton(m=words("b")) as other:
            urls = [one.url, other.url]
            model = {"tokenizer": str(tokenizer())}
            async with serving("", servers=urls, models={"m": model}) as served:
                controlled(one)
                controlled(other)
                unclear = await post(served, "unload")
                assert (unclear.status_code, one.url in unclear.text) == (400, True)
                done = (await post(served, "unload", server=one.url)).json()
                assert (done["server"], done["state"]) == (one.url, "unloaded")
                for _ in range(4):
                    answered = await served.post("/v1/chat/completions", **CHAT)
                    assert answered.json()["choices"][0]["message"]["content"] == "b"
                assert [row[:2] for row in one.controlled] == [("unload", "m")]
                assert other.controlled == []

    run_as_served(main())


def test_every_change_is_sent_to_watchers() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        controlled(triton)
        triton.index = [UNLOADED]
        seen: list[str] = []

        async def watch() -> None:
            async with served.control.stream("GET", "/v1/model/watch") as response:
                async for line in response.aiter_lines():
                    if line:
                        row = json.loads(line.removeprefix("data: "))
                        seen.append(row["state"])

        watching = asyncio.create_task(watch())
        async with asyncio.timeout(180):
            while not seen:
                await asyncio.sleep(0.01)
            await post(served, "load")
            while "ready" not in seen:
                await asyncio.sleep(0.01)
            triton.index = [{**READY, "name": "other"}]
            while "absent" not in seen:
                await asyncio.sleep(0.01)
            served.gateway.draining = True
            await watching
        assert (seen[0], seen[-2:]) == ("unloaded", ["ready", "absent"])
        assert "loading" in seen

    in_front(test)


BAD: dict[str, tuple[dict[str, Any], int, str | None]] = {
    "a path": ({"model": "../m"}, 400, "invalid_model_name"),
    "a slash": ({"model": "m/1"}, 400, "invalid_model_name"),
    "a file": ({"model": "file:m"}, 400, "invalid_model_name"),
    "dots": ({"model": ".."}, 400, "invalid_model_name"),
    "a null byte": ({"model": "m\0"}, 400, "invalid_model_name"),
    "nothing": ({"model": ""}, 400, "invalid_model_name"),
    "unknown": ({"model": "other"}, 404, "model_not_found"),
    "no name": ({"model": None}, 400, "missing_parameter"),
    "a number": ({"model": 3}, 400, "invalid_type"),
    "Triton's parameters": (
        {"parameters": {"file:1/model.py": "aW1wb3J0IG9z"}}, 400, "unknown_parameter",
    ),
    "a server": ({"server": "evil:80"}, 400, "unknown_server"),
}  # fmt: skip


def test_bad_requests_never_reach_the_server() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        controlled(triton)
        for name, (body, status, expected) in BAD.items():
            for action in ("load", "unload"):
                assert code(await post(served, action, **body)) == (status, expected), name
        for path in ("/v1/chat/completions", "/metrics", "/v1/model/load"):
            assert (await served.control.get(path)).status_code in (404, 405)
        assert (await served.client.get("/v1/model/list")).status_code == 404
        assert triton.controlled == []

    in_front(test)


def test_a_server_that_does_not_take_loads() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        text = b'{"error": "explicit model load / unload is not allowed if polling is enabled"}'
        triton.control = lambda *_: [answer(text, 400)]
        for action in ("load", "unload"):
            assert code(await post(served, action)) == (501, "model_control_off")
        assert (await served.post("/v1/chat/completions", **CHAT)).status_code == 200
        triton.control = lambda *_: ["close"]
        assert code(await post(served, "load")) == (502, "upstream_error")

    in_front(test)


def test_no_server() -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        listed = (await served.control.get("/v1/model/list")).json()
        assert listed["data"] == []
        assert listed["servers"][0]["reachable"] is False
        assert code(await post(served, "load")) == (502, "upstream_unreachable")

    in_front(test, url="127.0.0.1:1", models={})


TOKEN = "a-token-of-32-characters-or-more"


def test_the_token_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gates.VARIABLE, TOKEN)

    async def test(_: FakeTriton, served: Served) -> None:
        for given in (None, "Bearer wrong", "Bearer", f"Basic {TOKEN}", "Bearer \u00e9"):
            headers = {} if given is None else {"authorization": given.encode("latin-1")}
            refused = await served.control.get("/v1/model/list", headers=headers)
            assert code(refused) == (401, "invalid_control_token")
            assert refused.headers["www-authenticate"] == "Bearer"
        headers = {"authorization": f"Bearer {TOKEN}", "origin": "https://example.com"}
        assert (await served.control.get("/v1/model/list", headers=headers)).status_code == 200

    in_front(test)


def test_without_a_token_a_browser_is_refused() -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        for headers in (
            {"origin": "https://example.com"},
            {"sec-fetch-site": "cross-site"},
            {"host": "evil.example.com:9001"},
        ):
            refused = await served.control.get("/v1/model/list", headers=headers)
            assert code(refused) == (403, "no_control_token")
        for host in ("localhost:9001", "[::1]:9001", "127.0.0.2"):
            answered = await served.control.get("/v1/model/list", headers={"host": host})
            assert answered.status_code == 200

    in_front(test)


def test_an_admins_key_opens_the_port_for_its_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(gates.VARIABLE, TOKEN)
    keys = {
        name: json.loads(trtbuild("keys", "add", name, *more, "--json", cwd=tmp_path).stdout)["key"]
        for name, more in {
            "admin": ("--admin",), "other": ("--admin", "--models", "x*"), "user": (),
        }.items()
    }  # fmt: skip
    audit = tmp_path / "audit.jsonl"
    access = {"keys": str(tmp_path / "keys.json"), "audit": {"path": str(audit)}}

    async def test(triton: FakeTriton, served: Served) -> None:
        controlled(triton)

        async def load(token: str) -> httpx.Response:
            headers = {"authorization": f"Bearer {token}"}
            served.control.headers.update(headers)
            return await post(served, "load")

        assert (await load(keys["admin"])).status_code == 200
        assert (await load(TOKEN)).status_code == 200
        assert code(await load(keys["user"])) == (403, "not_admin")
        assert code(await load(keys["other"])) == (404, "model_not_found")
        assert (await served.control.get("/v1/model/list")).json()["data"] == []
        assert code(await load("nonsense")) == (401, "invalid_api_key")

    in_front(test, access=access)
    rows = [json.loads(line) for line in audit.read_text().splitlines()]
    noted = [(row["endpoint"], row["model"], row["status"]) for row in rows if "endpoint" in row]
    path = "/v1/model/load"
    assert noted == [
        (path, "m", 200), (path, "m", 200), (path, "", 403), (path, "", 404), (path, "", 401),
    ]  # fmt: skip
    assert "control-token" in audit.read_text()


def test_a_load_never_falls_back_to_another_model() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        triton.scripts["other"] = words("a")
        triton.control = lambda *_: [answer(b'{"error": "no memory"}', 400)]
        assert code(await post(served, "load")) == (502, "refused_by_server")
        assert [name for _, name, _ in triton.controlled] == ["m"]

    in_front(test, models={"m": {"fallbacks": ["other"]}, "other": {}})


def test_a_reload_reads_the_token_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv(gates.VARIABLE, raising=False)
    files = tmp_path / "first", tmp_path / "second"
    tokens = TOKEN, TOKEN[::-1]
    for file, token in zip(files, tokens, strict=True):
        file.write_text(token)

    async def test(triton: FakeTriton, served: Served) -> None:
        async def status(token: str) -> int:
            headers = {"authorization": f"Bearer {token}"}
            return (await served.control.get("/v1/model/list", headers=headers)).status_code

        def changed(path: Path) -> Settings:
            return settings_of({"url": triton.url, "control": {"token_file": str(path)}})

        assert [await status(token) for token in tokens] == [200, 401]
        assert await reload(served.gateway, lambda: changed(files[1]))
        assert [await status(token) for token in tokens] == [401, 200]
        assert "restarted" not in caplog.text
        files[1].write_text("short")
        assert not await reload(served.gateway, lambda: changed(files[1]))
        assert "has 5 characters" in caplog.text
        files[1].write_text(tokens[0])
        assert await reload(served.gateway, lambda: changed(files[1]))
        assert [await status(token) for token in tokens] == [200, 401]

    in_front(test, control={"token_file": str(files[0])})


def _control(**settings: Any) -> Settings:
    return Settings(control=ControlSettings(**settings))


def test_a_port_for_other_machines_needs_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(gates.VARIABLE, raising=False)
    with pytest.raises(UsageError, match="other machines can reach"):
        gates.gate_of(_control(host="0.0.0.0"))
    file = tmp_path / "token"
    settings = _control(host="0.0.0.0", token_file=file)
    for content, message in (
        (None, "No such file"), (b"\n", "is empty"), (b"short\n", "has 5 characters"),
        (b"\xff\xfe", "not text"),
    ):  # fmt: skip
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(UsageError, match=message):
            gates.gate_of(settings)
    file.write_text(TOKEN + "\n")
    assert gates.gate_of(settings)
    monkeypatch.setenv(gates.VARIABLE, TOKEN)
    assert gates.gate_of(_control(host="0.0.0.0"))


def test_a_port_for_other_machines_stays_closed_when_the_keys_are_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(gates.VARIABLE, raising=False)
    call, headers = Call("1", "/v1/model/load"), {"host": "localhost"}
    access = AccessSettings(keys=Path("keys.json"))
    for host, opens in (("127.0.0.1", True), ("0.0.0.0", False)):
        settings = Settings(control=ControlSettings(host=host), access=access)
        gate = gates.gate_of(settings, OpenGate)  # of the settings after a reload
        if opens:
            assert asyncio.run(gate.identify(headers, call)) == Caller()
            continue
        with pytest.raises(ApiError, match="other machines can reach this port") as refused:
            asyncio.run(gate.identify(headers, call))
        assert (refused.value.status, refused.value.code) == (403, "no_control_token")


@pytest.mark.parametrize("public", ["*", "/v1/model*"])
def test_public_paths_are_never_those_of_the_control_port(public: str, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    admin = add_key(file, admin=True)

    async def test(triton: FakeTriton, served: Served) -> None:
        assert (await served.client.get("/v1/models")).status_code == 200
        assert code(await post(served, "load")) == (401, "invalid_api_key")
        assert code(await served.control.get("/v1/model/list")) == (401, "invalid_api_key")
        found = await served.control.get("/v1/model/list", headers=bearer(admin))
        assert found.status_code == 200
        assert not triton.controlled

    in_front(test, access={"keys": str(file), "public": [public]})


@pytest.mark.parametrize("public", [(), ("*",)])
def test_admins_see_every_key_and_no_secret(public: tuple[str, ...], tmp_path: Path) -> None:
    file, path = tmp_path / "keys.json", "/v1/key/list"
    admin = add_key(file, "boss", admin=True)
    team = add_key(file, models=("m",), limits=Limits(requests_per_day=5))

    async def test(_: FakeTriton, served: Served) -> None:
        assert code(await served.control.get(path)) == (401, "invalid_api_key")
        assert code(await served.control.get(path, headers=bearer(team))) == (403, "not_admin")
        assert (await served.client.get(path, headers=bearer(admin))).status_code == 404
        found = await served.control.get(path, headers=bearer(admin))
        boss, other = found.json()["data"]
        assert (boss["name"], boss["admin"], boss["state"]) == ("boss", True, "valid")
        assert (other["models"], other["limits"]) == (["m"], {"requests_per_day": 5})
        assert not {"sha256", digest_of(admin), admin.split("-", 2)[2]} & {*found.text.split('"')}

    in_front(test, access={"keys": str(file), "public": public})


def test_without_a_file_of_keys_there_is_no_list() -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        assert code(await served.control.get("/v1/key/list")) == (404, "keys_off")

    in_front(test)


def test_a_key_is_told_of_no_model_that_is_not_its_own(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    narrow = bearer(add_key(file, models=("mine*",), admin=True))
    wide = bearer(add_key(file))

    async def test(triton: FakeTriton, served: Served) -> None:
        triton.scripts |= {"mine": words("a"), "secret": words("a"), "late": words("a")}
        names = ("mine", "secret", "late")
        triton.index = [{**READY, "name": name} for name in names]
        triton.index[-1] |= {"state": "LOADING"}
        await served.gateway.catalog.refresh()

        async def ask(name: str, headers: dict[str, str]) -> tuple[int, str]:
            body = CHAT | {"model": name}
            found = await served.client.post("/v1/chat/completions", json=body, headers=headers)
            return found.status_code, found.json()["error"]["message"].replace(name, "NAME")

        absent = await ask("nowhere", narrow)
        assert absent[0] == 404 and absent[1].endswith("there is: mine")
        for name in ("secret", "late", "other-name"):
            assert await ask(name, narrow) == absent, name
        assert (await ask("late", wide))[0] == 503
        counted = await served.client.post("/tokenize", json={"prompt": "a"}, headers=narrow)
        assert counted.status_code == 200, counted.text
        (answer,) = {
            (await served.control.get(f"/v1/model/state/{name}", headers=narrow)).text.replace(
                name, "NAME"
            )
            for name in ("nowhere", "secret", "late", "other-name")
        }
        assert "there is: mine" in answer

    tokens = {"tokenizer": str(tokenizer())}
    models = {"mine": tokens, "secret": {"aliases": ["other-name"], **tokens}}
    in_front(test, models=models, access={"keys": str(file)})


def test_the_reference_names_every_path_and_key() -> None:
    page = (ROOT / "docs" / "reference" / "gateway.md").read_text(encoding="utf-8")
    keys = [field.name for field in msgspec.structs.fields(ControlSettings)]
    bodies = (LoadRequest, UnloadRequest)
    keys += [field.name for body in bodies for field in msgspec.structs.fields(body)]
    paths = [f"/v1/model/{name}" for name in ("load", "unload", "list", "state", "watch")]
    assert [key for key in keys if f"`{key}`" not in page] == []
    assert [path for path in paths if f"{path}`" not in page] == []


@contextlib.contextmanager
def beside() -> Iterator[tuple[FakeTriton, Served]]:
    """A gateway in another thread: the command line needs the main one."""
    started: queue.Queue[tuple[FakeTriton, Served, Callable[[], object]]] = queue.Queue()

    async def test(triton: FakeTriton, served: Served) -> None:
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        started.put((triton, served, lambda: loop.call_soon_threadsafe(ended.set)))
        await ended.wait()

    thread = threading.Thread(target=in_front, args=(test,))
    thread.start()
    triton, served, end = started.get(timeout=20)
    try:
        yield triton, served
    finally:
        end()
        thread.join(20)


def test_the_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(models_cli, "_POLL_SECONDS", 0.02)
    (tmp_path / "token").write_text(TOKEN)
    with beside() as (triton, served):
        url = str(served.control.base_url).removeprefix("http://")

        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            return trtbuild("models", *arguments, "--url", url)

        controlled(triton, load=[0.1, answer(b"")])
        triton.index = [UNLOADED]
        listed = run("list")
        assert listed.stdout.splitlines()[1].split()[:2] == ["m", "unloaded"]
        loaded = run("load", "m")
        assert re.fullmatch(r"m: ready, after [\d.]+ s\n", loaded.stdout), loaded.stderr
        assert re.match(r"m: (starting|loading)\n", loaded.stderr)
        unloaded = run("unload", "m", "--seconds", "0", "--json")
        assert json.loads(unloaded.stdout)["state"] == "unloaded"
        unknown = run("load", "other")
        assert (unknown.returncode, "no repository has" in unknown.stderr) == (7, True)
        controlled(triton, load=[answer(b'{"error": "no memory"}', 400)])
        failed = run("load", "m", "--json")
        assert (failed.returncode, "no memory" in failed.stderr) == (7, True)
        assert "no memory" in failed.stdout
        served.gateway.draining = True  # it ends the streams
        assert run("watch", "--json").returncode == 0
        assert run("list", "--token-file", str(tmp_path / "token")).returncode == 0
        missing = run("list", "--token-file", str(tmp_path / "nothing"))
        assert (missing.returncode, "cannot be read" in missing.stderr) == (2, True)
    gone = trtbuild("models", "list", "--url", "127.0.0.1:1")
    assert (gone.returncode, "no control port answers" in gone.stderr) == (7, True)
