"""The audit log: what is in it, which changes show, and what a full disk does."""

from __future__ import annotations

import asyncio
import errno
import gzip
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.access import USER, add_key, bearer
from support.command_line import trtbuild
from support.fake_triton import FakeTriton, said
from support.gateways import Served, in_front
from support.scripted_http import END, STREAM
from trtbuild.errors import RecipeError, TrtbuildError
from trtbuild_gateway.access import audit
from trtbuild_gateway.access.audit import AuditLog
from trtbuild_gateway.access.chain import ChainError, Link, next_line, walk
from trtbuild_gateway.access.keys import id_of
from trtbuild_gateway.access_settings import AuditSettings
from trtbuild_gateway.reloading import reload
from trtbuild_gateway.seams import Call, Caller, Outcome
from trtbuild_gateway.settings import ModelSettings, Settings, settings_of

CHAT: dict[str, Any] = {"model": "m", "messages": [USER]}


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def noted(log: AuditLog, name: str = "/x") -> None:
    log.note(Call("r", name, Caller("k")), Outcome())


def test_text_that_no_encoding_has_keeps_no_line_waiting(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    log = AuditLog(AuditSettings(path=path))
    noted(log, "half a pair: \ud800")
    noted(log)
    log.require()
    assert [row["endpoint"] for row in rows(path)] == ["half a pair: ?", "/x"]
    assert len(list(walk(path.read_bytes().splitlines(keepends=True), b""))) == 2
    asyncio.run(log.close())


def test_every_call_has_a_line(tmp_path: Path) -> None:
    file, path = tmp_path / "keys.json", tmp_path / "audit.jsonl"
    key = add_key(file)

    async def test(triton: FakeTriton, served: Served) -> None:
        post, headers = served.client.post, {**bearer(key), "x-request-id": "r-1"}
        await post("/v1/chat/completions", json=CHAT, headers=headers)
        await post("/v1/chat/completions", json=CHAT)
        await post("/v1/chat/completions", json={**CHAT, "model": "none"}, headers=headers)
        await served.client.get("/health/live")
        body = {**CHAT, "stream": True, "user": "late"}
        asking = asyncio.create_task(post("/v1/chat/completions", json=body, headers=headers))
        async with asyncio.timeout(180):
            while len(triton.bodies) < 2:
                await asyncio.sleep(0.01)
            asking.cancel()
            while len(rows(path)) < 4:
                await asyncio.sleep(0.02)

    def script(body: dict[str, Any]) -> list[Any]:
        return [STREAM, said("Hel"), said("lo", "stop"), END] if first.pop() else [STREAM, "hold"]

    first = [False, True]
    in_front(test, script=script, access={"keys": str(file), "audit": {"path": str(path)}})
    good, without, unknown, left = rows(path)
    assert good["ms"] > 0
    assert {name: good[name] for name in list(good)[2:10]} == {
        "event": "call",
        "request": "r-1",
        "caller": id_of(key),
        "endpoint": "/v1/chat/completions",
        "model": "m",
        "status": 200,
        "error": "",
        "prompt_tokens": 18,
    }
    assert (without["caller"], without["status"], without["error"]) == ("", 401, "invalid_api_key")
    assert (unknown["model"], unknown["status"]) == ("", 404)
    assert (left["status"], left["error"]) == (499, "client_left")
    text = path.read_text()
    assert "Hello" not in text and key.split("-", 2)[2] not in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    done = trtbuild("audit", "verify", path, "--json")
    assert json.loads(done.stdout) == {
        "files": [str(path)], "first": 1, "lines": 4, "hash": left["hash"], "keyed": False,
    }  # fmt: skip


def test_a_hundred_calls_at_once_have_a_line_each(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"

    async def test(_: FakeTriton, served: Served) -> None:
        async def ask(number: int) -> None:
            headers = {"x-request-id": f"r{number}"}
            body = {**CHAT, "stream": bool(number % 2)}
            await served.client.post("/v1/chat/completions", json=body, headers=headers)

        await asyncio.gather(*map(ask, range(100)))

    in_front(test, access={"audit": {"path": str(path)}})
    assert sorted(row["request"] for row in rows(path)) == sorted(f"r{n}" for n in range(100))
    assert trtbuild("audit", "verify", path).returncode == 0


def test_new_settings_go_on_with_the_log_and_the_counts(tmp_path: Path) -> None:
    file, path = tmp_path / "keys.json", tmp_path / "audit.jsonl"
    key = add_key(file)

    async def test(triton: FakeTriton, served: Served) -> None:
        async def ask() -> int:
            found = await served.client.post("/v1/completions", json=TEXT, headers=bearer(key))
            return found.status_code

        def changed(**more: Any) -> Any:
            access = {
                "keys": str(file),
                "audit": {"path": str(path)},
                "limits": {"requests_per_minute": 2},
                "public": ["/health*", "/metrics"],
            }
            access |= more
            value = {"url": triton.url, "models": {"m": {}}, "access": access}
            return lambda: settings_of(value)

        assert await reload(served.gateway, changed())
        assert [await ask(), await ask(), await ask()] == [200, 200, 429]
        rules = {"default": [{"find": ["email"]}]}
        assert await reload(served.gateway, changed(masking=rules))
        assert await ask() == 429  # the same minute
        # Settings that are refused leave everything as it was, and nothing locked.
        other = {"path": str(tmp_path / "other.jsonl")}
        bad = changed(audit=other)()
        models = {"m": ModelSettings(parser="nonsense")}
        bad = msgspec.structs.replace(bad, models=models)
        assert not await reload(served.gateway, lambda: bad)
        assert await ask() == 429
        assert await reload(served.gateway, changed(audit=other, limits={}))
        assert await ask() == 200
        page = (await served.client.get("/metrics")).text
        assert "trtbuild_gateway_audit_lines_waiting 0.0" in page

    TEXT = {"model": "m", "prompt": "I am a@example.org", "max_tokens": 5}
    in_front(test)
    calls = [row["status"] for row in rows(path) if row["endpoint"] == "/v1/completions"]
    assert calls == [200, 200, 429, 429, 429]
    assert [row["status"] for row in rows(tmp_path / "other.jsonl")] == [200]
    for one in (path, tmp_path / "other.jsonl"):
        assert trtbuild("audit", "verify", one).returncode == 0


def chain(count: int, key: bytes = b"") -> list[bytes]:
    end, made = Link(), []
    for number in range(count):
        line, end = next_line(end, {"event": "call", "n": number}, key)
        made.append(line)
    return made


CHANGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "removed": lambda lines: lines[:1] + lines[2:],
    "first removed": lambda lines: lines[1:],
    "moved": lambda lines: [lines[1], lines[0], *lines[2:]],
    "repeated": lambda lines: [lines[0], *lines],
    "cut": lambda lines: [*lines[:-1], lines[-1][:-5]],
    "without its end": lambda lines: [*lines[:-1], lines[-1][:-1]],
    "empty": lambda lines: [lines[0], b"\n", *lines[1:]],
    "other": lambda lines: [lines[0], b"{}\n"],
    "of another log": lambda lines: [lines[0], chain(3, b"k" * 16)[1]],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_log_does_not_verify(
    change: Callable[[list[bytes]], list[bytes]], tmp_path: Path
) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"".join(change(chain(3))))
    done = trtbuild("audit", "verify", path)
    assert done.returncode == 9
    assert "is not what was written: line " in done.stderr


def test_no_byte_can_be_changed() -> None:
    lines = chain(2)
    for at in range(len(lines[0])):
        for new in (lines[0][at] ^ 1, lines[0][at] ^ 32):
            changed = bytes([*lines[0][:at], new, *lines[0][at + 1 :]])
            with pytest.raises(ChainError):
                list(walk([changed, lines[1]], b""))


def test_a_key_makes_a_forged_chain_visible(tmp_path: Path) -> None:
    key, path = tmp_path / "audit.key", tmp_path / "audit.jsonl"
    key.write_text("a" * 32)
    path.write_bytes(b"".join(chain(3, b"a" * 32)))
    assert trtbuild("audit", "verify", path, "--key-file", key).returncode == 0
    path.write_bytes(b"".join(chain(3)))  # whoever has no key can only make this
    assert trtbuild("audit", "verify", path).returncode == 0
    assert trtbuild("audit", "verify", path, "--key-file", key).returncode == 9


def test_a_cut_end_shows_by_a_hash_noted_before(tmp_path: Path) -> None:
    path, lines = tmp_path / "audit.jsonl", chain(3)
    path.write_bytes(b"".join(lines))
    last = json.loads(lines[-1])["hash"]
    assert trtbuild("audit", "verify", path, "--expect", last).returncode == 0
    path.write_bytes(b"".join(lines[:-1]))
    assert trtbuild("audit", "verify", path).returncode == 0
    done = trtbuild("audit", "verify", path, "--expect", last)
    assert (done.returncode, "its end was cut off" in done.stderr) == (9, True)


def test_a_restart_continues_the_chain_also_after_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    settings = AuditSettings(path)

    async def run(name: str) -> None:
        log = AuditLog(settings)
        noted(log, name)
        await log.close()

    asyncio.run(run("/first"))
    asyncio.run(run("/" + "x" * 200_000))
    with path.open("ab") as stream:
        stream.write(b'{"seq":3,"time":"2026')
    asyncio.run(run("/third"))
    path.chmod(0o644)
    asyncio.run(run("/fourth"))
    found = rows(path)
    assert [row["seq"] for row in found] == [1, 2, 3, 4, 5]
    assert (found[2]["event"], found[2]["removed_bytes"]) == ("recovered", 21)
    assert trtbuild("audit", "verify", path).returncode == 0


def test_a_log_that_is_moved_away_is_continued_in_a_new_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, key = tmp_path / "audit.jsonl", tmp_path / "audit.key"
    first, second = tmp_path / "audit.jsonl.2.gz", tmp_path / "audit.jsonl.1"
    key.write_text("a" * 32)

    async def test(triton: FakeTriton, served: Served) -> None:
        async def ask() -> None:
            assert (await served.post("/v1/chat/completions", **CHAT)).status_code == 200

        def broken() -> Settings:
            raise RecipeError("no settings")

        await ask()
        path.rename(tmp_path / "moved")
        await ask()  # still in the old file
        assert not await reload(served.gateway, broken), "a wrong file keeps no log from moving"
        await ask()
        first.write_bytes(gzip.compress((tmp_path / "moved").read_bytes()))
        path.rename(second)
        path.write_text("another log")
        assert not await reload(served.gateway, broken)
        assert "is not empty" in caplog.text
        await ask()
        path.unlink()
        await reload(served.gateway, broken)
        await ask()
        await reload(served.gateway, broken)  # nothing was moved
        await ask()

    in_front(test, access={"audit": {"path": str(path), "key_file": str(key)}})
    assert [row["seq"] for row in rows(second)] == [3, 4, 5]
    assert [row["event"] for row in rows(path)] == ["continued", "call", "call"]
    keyed = ("--key-file", key)
    done = trtbuild("audit", "verify", path, first, second, *keyed, "--json")
    assert (json.loads(done.stdout)["lines"], done.returncode) == (8, 0), done.stderr
    alone = trtbuild("audit", "verify", path, *keyed)
    assert "3 lines from number 6 on" in alone.stdout
    assert trtbuild("audit", "verify", first, path, *keyed).returncode == 9
    second.write_text("".join(second.read_text().splitlines(keepends=True)[1:]))
    cut = trtbuild("audit", "verify", second, *keyed)
    assert (cut.returncode, "lines were removed" in cut.stderr) == (9, True)
    first.write_bytes(first.read_bytes()[:40])
    damaged = trtbuild("audit", "verify", first, *keyed)
    assert (damaged.returncode, "cannot be read" in damaged.stderr) == (2, True)


def test_a_log_that_cannot_be_used(tmp_path: Path) -> None:
    fifo, key, short = tmp_path / "fifo", tmp_path / "key", tmp_path / "short"
    os.mkfifo(fifo)
    changed, busy = tmp_path / "changed.jsonl", tmp_path / "busy.jsonl"
    changed.write_bytes(chain(1)[0].replace(b"call", b"cell"))
    short.write_text("abc")
    key.write_text("k" * 32)
    plain = tmp_path / "plain.jsonl"
    plain.write_bytes(chain(1)[0])
    holding = AuditLog(AuditSettings(busy))
    for path, key_file, says in (
        (Path("/dev/full"), None, "is not a regular file"),
        (Path("/dev/null"), None, "is not a regular file"),
        (fifo, None, "is not a regular file"),
        (tmp_path, None, "Is a directory"),
        (tmp_path / "none" / "x", None, "No such file"),
        (busy, None, "another gateway writes"),
        (changed, None, "its last line is wrong"),
        (plain, key, "its last line is wrong"),
        (tmp_path / "x", short, "fewer than 16 bytes"),
        (tmp_path / "x", tmp_path / "nokey", "cannot be read"),
    ):
        with pytest.raises(TrtbuildError, match=says) as caught:
            AuditLog(AuditSettings(path, key_file))
        assert caught.value.fix
    asyncio.run(holding.close())
    asyncio.run(AuditLog(AuditSettings(busy)).close())


def test_the_gateway_does_not_start_without_its_log(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("access: {audit: {path: /dev/full}}\nport: 0\n")
    done = trtbuild("gateway", "-f", "gateway.yaml")
    assert (done.returncode, "is not a regular file" in done.stderr) == (2, True)


class FullDisk:
    """``os.write`` of a disk with little room."""

    def __init__(self) -> None:
        self.full = False
        self._write = os.write

    def __call__(self, fd: int, data: bytes) -> int:
        if not self.full:
            return self._write(fd, data)
        if len(data) > 100:  # what still has room is written, as the kernel does
            return self._write(fd, data[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(("on_failure", "status"), [("refuse", 503), ("continue", 200)])
def test_a_full_disk(
    on_failure: str,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path, disk = tmp_path / "audit.jsonl", FullDisk()
    monkeypatch.setattr(audit.os, "write", disk)
    monkeypatch.setattr(audit, "_MOST_WAITING", 2)

    async def test(triton: FakeTriton, served: Served) -> None:
        async def ask() -> int:
            return (await served.post("/v1/chat/completions", **CHAT)).status_code

        assert await ask() == 200
        disk.full = True
        assert await ask() == 200  # it was admitted before anybody knew
        assert [await ask() for _ in range(3)] == [status] * 3
        assert len(rows(path)) == 1
        assert len(triton.bodies) == (2 if status == 503 else 5)
        said_once = [one for one in caplog.messages if "No space left on device" in one]
        assert len(said_once) == 1
        assert ("requests are refused" in said_once[0]) == (status == 503)
        disk.full = False
        assert await ask() == 200

    in_front(test, access={"audit": {"path": str(path), "on_failure": on_failure}})
    found = rows(path)
    assert [row["event"] for row in found] == ["call"] * 3 + ["lost", "call"]
    assert found[3]["lines"] == 2
    assert trtbuild("audit", "verify", path).returncode == 0


def test_a_log_that_is_moved_from_a_full_disk_verifies_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, disk = tmp_path / "audit.jsonl", FullDisk()
    monkeypatch.setattr(audit.os, "write", disk)
    log = AuditLog(AuditSettings(path=path))
    noted(log)
    disk.full = True
    noted(log)
    path.rename(tmp_path / "moved")
    log.reopen()
    disk.full = False
    noted(log)
    asyncio.run(log.close())
    assert [row["event"] for row in rows(path)] == ["continued", "call", "call"]
    assert [link.seq for link in walk(path.read_bytes().splitlines(keepends=True), b"")] == [
        2,
        3,
        4,
    ]
