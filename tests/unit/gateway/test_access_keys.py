"""API keys: the file, its command, and who gets past the gate."""

from __future__ import annotations

import asyncio
import json
import random
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support.access import USER, add_key, bearer
from support.command_line import trtbuild
from support.fake_triton import FakeTriton
from support.gateways import Served, client, in_front
from trtbuild_gateway import running
from trtbuild_gateway.access.callers import Callers
from trtbuild_gateway.access.keys import Key, digest_of, id_of, new_key, read_keys, rotated
from trtbuild_gateway.access.ring import KeyRing
from trtbuild_gateway.failures import ApiError
from trtbuild_gateway.seams import Call

CHAT: dict[str, Any] = {"model": "m", "messages": [USER]}
PAST, FUTURE = datetime(2026, 2, 1, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC)


def test_add_list_rotate_and_revoke(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    added = trtbuild("keys", "add", "bot", "--models", "a-*", "--expires", "90d", "--json")
    made = json.loads(added.stdout)
    assert (made["models"], made["state"], made["secrets"]) == (["a-*"], "valid", 1)
    assert len(made["key"]) == len("sk-") + 12 + 1 + 43
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secret = made["key"].split("-", 2)[2]  # it may have hyphens itself
    assert secret not in file.read_text()
    turned = trtbuild("keys", "rotate", "bot", "--grace", "1h")
    text = turned.stdout.strip()
    assert id_of(text) == made["id"]
    key, now = read_keys(file)[made["id"]], datetime.now(UTC)
    assert key.opens(text, now) and key.opens(made["key"], now)
    assert not key.opens(made["key"], now + timedelta(hours=2))
    assert key.opens(text, now + timedelta(hours=2))
    (row,) = json.loads(trtbuild("keys", "list", "--json").stdout)
    assert (row["secrets"], "key" in row) == (2, False)
    assert json.loads(trtbuild("keys", "revoke", "bot", "--json").stdout)["state"] == "revoked"
    assert "revoked" in trtbuild("keys", "list").stdout
    # A revoked name can be taken again; its old entry stays as a record.
    assert trtbuild("keys", "add", "bot", "--concurrent", "3").returncode == 0
    shown = trtbuild("keys", "list").stdout
    assert "concurrent 3" in shown and shown.count(" bot ") == 2


def test_two_secrets_are_valid_at_once_and_not_three() -> None:
    now = datetime.now(UTC)
    texts = [new_key("0123456789ab")[1] for _ in range(3)]
    key = Key("0123456789ab", "bot", now, ())
    for text in texts:
        key = rotated(key, text, now, timedelta(hours=1))
    assert [key.opens(text, now) for text in texts] == [False, True, True]
    later = now + timedelta(hours=1)
    assert [key.opens(text, later) for text in texts] == [False, False, True]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("add", "bot"), 2, "has a valid key named 'bot'"),
        (("add", "a\nb"), 2, "cannot be a name"),
        (("add", "x", "--expires", "soon"), 2, "neither a time span nor a date"),
        (("add", "x", "--expires", "2020-01-01"), 2, "in the past"),
        (("add", "x", "--file", "none/keys.json"), 2, "is not a directory"),
        (("rotate", "nobody"), 2, "has no key 'nobody'"),
        (("rotate", "bot", "--grace", "x"), 2, "not a time span"),
        (("rotate", "old"), 2, "is expired"),
        (("revoke", "twice"), 2, "several keys"),
        (("list", "--file", "broken.json"), 3, "is invalid"),
        (("list", "--file", "newer.json"), 3, "version 9"),
        (("list", "--file", "nowhere.json"), 3, "cannot be read"),
    ],
)
def test_what_the_command_refuses(
    arguments: tuple[str, ...], code: int, says: str, tmp_path: Path
) -> None:
    add_key(tmp_path / "keys.json", "bot")
    add_key(tmp_path / "keys.json", "old", expires=PAST)
    for _ in range(2):
        add_key(tmp_path / "keys.json", "twice")
    before = (tmp_path / "keys.json").read_bytes()
    (tmp_path / "broken.json").write_text('{"version": 1, "keys": [{}]}')
    (tmp_path / "newer.json").write_text('{"version": 9, "keys": []}')
    done = trtbuild("keys", *arguments)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert "fix:" in done.stderr
    assert (tmp_path / "keys.json").read_bytes() == before


def test_only_a_valid_key_passes(tmp_path: Path) -> None:
    import openai

    file = tmp_path / "keys.json"
    good = add_key(file)
    wrong: list[tuple[dict[str, str], str]] = [
        ({}, "there is no API key"),
        ({"authorization": "Basic abc"}, "there is no API key"),
        ({"authorization": "Bearer"}, "there is no API key"),
        (bearer("none"), "is not valid"),
        (bearer(new_key()[1]), "is not valid"),
        (bearer(f"{good}x"), "is not valid"),
        (bearer(good[:-1]), "is not valid"),
        (bearer(f"sk-{id_of(good)}-"), "is not valid"),
        (bearer(f"SK{good[2:]}"), "is not valid"),
        (bearer(add_key(file, expires=PAST)), "expired on 2026-02-01"),
        (bearer(add_key(file, revoked=PAST)), "was revoked on 2026-02-01"),
    ]

    async def test(triton: FakeTriton, served: Served) -> None:
        for headers, says in wrong:
            answer = await served.client.post("/v1/chat/completions", json=CHAT, headers=headers)
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (401, "invalid_api_key")
            assert says in error["message"], headers
            assert answer.headers["www-authenticate"] == "Bearer"
        assert not triton.bodies
        for headers in (bearer(good), {"x-api-key": good}):
            answer = await served.client.post("/v1/chat/completions", json=CHAT, headers=headers)
            assert answer.status_code == 200
        for path, status in (("/health/live", 200), ("/health/ready", 200), ("/metrics", 401)):
            assert (await served.client.get(path)).status_code == status
        answer = await served.post("/v1/messages", **CHAT, max_tokens=5)
        assert answer.json()["error"]["type"] == "authentication_error"
        assert answer.json()["type"] == "error"
        with pytest.raises(openai.AuthenticationError, match="not valid"):
            await client(served).chat.completions.create(**CHAT)
        found = await client(served, good).chat.completions.create(**CHAT)
        assert found.choices[0].message.content == "Hello!"

    in_front(test, access={"keys": str(file)})


def test_none_of_a_thousand_hostile_keys_passes(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    good = [add_key(file, name) for name in ("a", "b")]
    dice = random.Random(4)
    ring, call = KeyRing(file), Call("r", "/v1/models")
    parts = [*good, *(part for text in good for part in text.split("-")), digest_of(good[0])]
    parts += ["sk", "-", "--", "", "\0", "*", "../", "%2d", "é", "\udcff", "Bearer ", "a" * 5000]

    def hostile() -> str:
        if dice.random() < 0.5:
            return "-".join(dice.choice(parts) for _ in range(dice.randint(1, 5)))
        text = list(dice.choice(good))
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(len(text))
            text[at : at + dice.randint(0, 2)] = dice.choice(["", "A", "-", "0", "\xff", " "])
        return "".join(text)

    async def passes(text: str) -> bool:
        try:
            await Callers(ring).key_of(text, call)
        except ApiError as error:
            assert error.status == 401
            return False
        return True

    async def run() -> None:
        tried = set[str]()
        while len(tried) < 1000:
            tried |= {hostile()} - {*good}
        assert [text for text in tried if await passes(text)] == []
        assert all([await passes(text) for text in good])

    asyncio.run(run())


def test_a_key_has_its_models_and_endpoints(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    foreign = add_key(file, models=("other-*",))
    narrow = add_key(file, models=("m",), endpoints=("/v1/chat/*", "/metrics"))

    async def test(triton: FakeTriton, served: Served) -> None:
        answer = await served.client.post(
            "/v1/chat/completions", json=CHAT, headers=bearer(foreign)
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
        listed = await served.client.get("/v1/models", headers=bearer(foreign))
        assert listed.json()["data"] == []
        assert not triton.bodies
        for method, path, status in (
            ("POST", "/v1/chat/completions", 200),
            ("POST", "/v1/completions", 403),
            ("GET", "/v1/models", 200),
            ("GET", "/v1/models/m", 200),
            ("GET", "/metrics", 200),
        ):
            body = CHAT if method == "POST" else None
            answer = await served.client.request(method, path, json=body, headers=bearer(narrow))
            assert answer.status_code == status, path
            if status == 403:
                assert answer.json()["error"]["code"] == "endpoint_not_allowed"

    in_front(test, access={"keys": str(file)})


def test_a_changed_file_counts_without_a_restart_and_a_broken_one_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys.json"
    first = add_key(file)

    async def status(served: Served, key: str, wanted: int) -> None:
        async with asyncio.timeout(180):
            while True:
                answer = await served.client.get("/v1/models", headers=bearer(key))
                if answer.status_code == wanted:
                    return
                await asyncio.sleep(0.05)

    async def test(_: FakeTriton, served: Served) -> None:
        second = add_key(file, "second")
        await status(served, second, 200)
        assert trtbuild("keys", "revoke", "team").returncode == 0
        await status(served, first, 401)
        file.write_text("{")
        async with asyncio.timeout(180):
            while "the keys stay as they were" not in caplog.text:
                await status(served, second, 200)
        await status(served, second, 200)

    in_front(test, access={"keys": str(file)})


def test_a_gateway_without_its_keys_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("access: {keys: keys.json}\nport: 0\n")
    done = trtbuild("gateway", "-f", "gateway.yaml")
    assert done.returncode == 3
    assert "the keys file keys.json cannot be read" in done.stderr
    assert "trtbuild keys add" in done.stderr


def test_pages_of_other_origins(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key = add_key(file)

    async def test(_: FakeTriton, served: Served) -> None:
        for origin, allowed in (("https://app.test", True), ("https://evil.test", False)):
            asked = {"origin": origin, "access-control-request-method": "POST"}
            asked["access-control-request-headers"] = "authorization,content-type"
            before = await served.client.options("/v1/chat/completions", headers=asked)
            assert before.status_code == (200 if allowed else 400)
            for headers in (bearer(key), {}):  # an error must be readable, too
                answer = await served.client.post(
                    "/v1/chat/completions", json=CHAT, headers={"origin": origin, **headers}
                )
                named = answer.headers.get("access-control-allow-origin")
                assert named == (origin if allowed else None)
        assert (
            "x-request-id"
            in (
                await served.client.get("/v1/models", headers={"origin": "https://app.test"})
            ).headers["access-control-expose-headers"]
        )

    in_front(test, access={"keys": str(file), "cors": {"origins": ["https://app.test"]}})


@pytest.mark.parametrize(
    ("host", "keys", "warned"),
    [("0.0.0.0", False, True), ("0.0.0.0", True, False), ("127.0.0.1", False, False)],
)
def test_an_open_address_without_keys_is_warned_of(
    host: str, keys: bool, warned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "serve", lambda *_: None)
    add_key(tmp_path / "keys.json")
    access = {"keys": "keys.json"} if keys else {}
    (tmp_path / "gateway.yaml").write_text(json.dumps({"port": 0, "host": host, "access": access}))
    done = trtbuild("gateway", "-f", "gateway.yaml")
    assert done.returncode == 0
    assert ("anybody who can reach this address can use the models" in done.stderr) == warned
