"""Batches of several callers, computed with a scripted endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from trtbuild_batch.output.journal import Journal
from trtbuild_gateway.batches.lines import body_of, check
from trtbuild_gateway.batches.store import Store
from trtbuild_gateway.batching import Batching
from trtbuild_gateway.settings import BatchSettings

ENDPOINT = "/v1/embeddings"
Reply = Callable[[str, Any], Awaitable[bytes]]


def endpoint(reply: Reply) -> Callable[[str, str, bytes], ASGIApp]:
    """Make an answerer; ``reply`` is given the caller and the body."""

    def answerer(_: str, caller: str, __: bytes) -> ASGIApp:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            body = json.loads((await receive())["body"])
            content = await reply(caller, body)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": content})

        return app

    return answerer


@contextlib.asynccontextmanager
async def at_work(batching: Batching) -> AsyncIterator[None]:
    task = asyncio.create_task(batching.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def added(store: Store, owner: str, rows: int) -> str:
    """Keep a batch of requests with the numbers of their lines as input."""
    content = "".join(
        json.dumps({"custom_id": str(n), "method": "POST", "url": ENDPOINT, "body": {"input": n}})
        + "\n"
        for n in range(rows)
    )
    file = store.add_file((content.encode(),), "rows.jsonl", "batch", owner)
    given = {
        "endpoint": ENDPOINT, "status": "validating", "input_file_id": file["id"],
        "created_at": int(time.time()), "expires_at": time.time() + 3600,
    }  # fmt: skip
    return str(store.add_batch(given, owner)["id"])


async def ended(store: Store, name: str, owner: str) -> dict[str, Any]:
    async with asyncio.timeout(180):
        while (batch := store.batch(name, owner))["status"] != "completed":
            await asyncio.sleep(0.01)
    return batch


def test_a_caller_does_not_wait_for_the_batch_of_another(tmp_path: Path) -> None:
    async def main() -> None:
        asked: list[str] = []
        may = asyncio.Event()

        async def reply(caller: str, _: Any) -> bytes:
            asked.append(caller)
            if caller == "slow":
                await may.wait()
            return b"{}"

        store = Store(tmp_path)
        slow = [added(store, "slow", 2) for _ in range(2)]
        async with at_work(
            made := Batching(store, BatchSettings(most_in_flight=3), endpoint(reply))
        ):
            while asked.count("slow") < 2:
                await asyncio.sleep(0.01)
            quick = added(store, "quick", 20)
            made.wake()
            done = await ended(store, quick, "quick")
            assert done["request_counts"]["completed"] == 20
            assert asked.count("slow") == 2  # its second batch waits for its first
            may.set()
            for name in slow:
                await ended(store, name, "slow")

    asyncio.run(main())


def test_all_batches_share_the_requests_in_flight(tmp_path: Path) -> None:
    async def main() -> None:
        running = most = 0

        async def reply(_: str, __: Any) -> bytes:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.001)
            running -= 1
            return b"{}"

        store = Store(tmp_path)
        names = {owner: added(store, owner, 30) for owner in "abc"}
        async with at_work(Batching(store, BatchSettings(most_in_flight=4), endpoint(reply))):
            for owner, name in names.items():
                await ended(store, name, owner)
        assert most == 4

    asyncio.run(main())


def test_the_directory_is_read_in_a_thread_and_no_new_batch_is_missed(tmp_path: Path) -> None:
    async def main() -> None:
        store, threads = Store(tmp_path), set[int]()
        unfinished = store.unfinished

        def listed() -> list[tuple[str, str]]:
            threads.add(threading.get_ident())
            found = unfinished()
            if not added_late and not found:  # between the look and the end of its caller's work
                added_late.append(added(store, "a", 1))
                loop.call_soon_threadsafe(batching.wake)
                time.sleep(0.05)
            return found

        async def reply(_: str, __: Any) -> bytes:
            return b"{}"

        loop, added_late = asyncio.get_running_loop(), list[str]()
        store.unfinished = listed  # type: ignore[method-assign]
        first = added(store, "a", 1)
        batching = Batching(store, BatchSettings(), endpoint(reply))
        async with at_work(batching):
            await ended(store, first, "a")
            async with asyncio.timeout(180):
                while not added_late:
                    await asyncio.sleep(0.01)
            await ended(store, added_late[0], "a")
        assert threading.get_ident() not in threads

    asyncio.run(main())


def test_a_batch_that_another_process_leaves_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trtbuild_gateway.batching._AGAIN_SECONDS", 0.02)

    async def main() -> None:
        async def reply(_: str, __: Any) -> bytes:
            return b"{}"

        store = Store(tmp_path)
        name = added(store, "a", 1)
        other = Journal(store.journal_of(name), name)
        assert other.open()
        looks = 0
        unfinished = store.unfinished

        def counted() -> list[tuple[str, str]]:
            nonlocal looks
            looks += 1
            return unfinished()

        store.unfinished = counted  # type: ignore[method-assign]
        async with at_work(Batching(store, BatchSettings(), endpoint(reply))):
            async with asyncio.timeout(180):
                while looks < 9:
                    await asyncio.sleep(0.01)
            assert store.batch(name, "a")["status"] == "validating"
            other.close()
            await ended(store, name, "a")

    asyncio.run(main())


def test_a_batch_that_another_process_has_just_ended_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        asked: list[str] = []
        opened: list[str] = []

        async def reply(caller: str, _: Any) -> bytes:
            asked.append(caller)
            return b"{}"

        def late(self: Journal) -> bool:
            batch = store.batch(name, "a")
            store.save_batch({**batch, "status": "completed"}, "a")
            found = real(self)
            opened.append(name)
            return found

        store, real = Store(tmp_path), Journal.open
        name = added(store, "a", 1)
        monkeypatch.setattr(Journal, "open", late)
        async with at_work(Batching(store, BatchSettings(), endpoint(reply))):
            async with asyncio.timeout(180):
                while not opened or store.journal_of(name).exists():
                    await asyncio.sleep(0.01)
        assert not asked

    asyncio.run(main())


def test_a_batch_that_failed_is_computed_when_there_is_new_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async def reply(_: str, __: Any) -> bytes:
            return b"{}"

        store, looks = Store(tmp_path), iter(range(9))
        name = added(store, "a", 1)
        found = store.batch

        def unreadable(name: str, owner: str) -> dict[str, Any]:
            if next(looks, 9) == 1:
                raise OSError("too many open files")
            return found(name, owner)

        monkeypatch.setattr(store, "batch", unreadable)
        batching = Batching(store, BatchSettings(), endpoint(reply))
        async with at_work(batching):
            async with asyncio.timeout(180):
                while "waits for the next start" not in caplog.text:
                    await asyncio.sleep(0.01)
            batching.wake()  # it has given up the lock
            await ended(store, name, "a")

    asyncio.run(main())


def test_answers_do_not_stay_in_memory(tmp_path: Path) -> None:
    size, rows = 200_000, 60

    async def main() -> None:
        answered = 0
        half = asyncio.Event()

        async def reply(_: str, body: Any) -> bytes:
            nonlocal answered
            answered += 1
            if answered == rows // 2:
                half.set()
                await asyncio.Event().wait()
            return json.dumps({"data": f"{body['input']:{size}}"}).encode()

        store = Store(tmp_path)
        name = added(store, "a", rows)
        settings = BatchSettings(most_in_flight=1)
        tracemalloc.start()
        try:
            async with at_work(Batching(store, settings, endpoint(reply))):
                await half.wait()
            async with at_work(Batching(store, settings, endpoint(reply))):
                done = await ended(store, name, "a")
            assert tracemalloc.get_traced_memory()[1] < size * rows / 3
        finally:
            tracemalloc.stop()
        assert (done["request_counts"]["completed"], answered) == (rows, rows + 1)
        with store.data_of(done["output_file_id"]).open() as lines:
            read = [json.loads(line) for line in lines]
        found = {row["custom_id"]: row["response"]["body"] for row in read}
        assert {n: int(body["data"]) for n, body in found.items()} == {
            str(n): n for n in range(rows)
        }
        assert store.file(done["output_file_id"], "a")["bytes"] > size * rows

    asyncio.run(main())


@pytest.mark.parametrize(
    ("content", "codes"),
    [
        (b"\n" * 9, ["too_many_requests"]),
        (b"\n" * 8, ["empty_file"]),
        (b"no\n" * 9, ["invalid_json_line"] * 9),
    ],
)
def test_a_file_is_read_no_further_than_needed(content: bytes, codes: list[str]) -> None:
    stream = io.BytesIO(content + b"\n" * 1000 * (codes[0] == "too_many_requests"))
    checked = check(stream, ENDPOINT, 4 if len(codes) == 1 else 100)
    assert [one["code"] for one in checked.problems] == codes
    if codes == ["too_many_requests"]:
        assert stream.tell() == 9


def test_a_body_is_read_from_its_line() -> None:
    row = {"custom_id": "a", "method": "POST", "url": ENDPOINT, "body": {"input": "ä"}}
    text = json.dumps(row, ensure_ascii=False)
    other = text.replace('"a"', '"b"')
    stream = io.BytesIO(f"\n{text}\r\n\n{other}".encode())
    checked = check(stream, ENDPOINT, 2)
    assert not checked.problems and [one.custom_id for one in checked.lines] == ["a", "b"]
    assert [json.loads(body_of(stream, one)) for one in checked.lines] == [{"input": "ä"}] * 2
    assert check(io.BytesIO(stream.getvalue()), ENDPOINT, 1).problems


def test_what_a_killed_gateway_left_is_removed_at_the_next_start(tmp_path: Path) -> None:
    store = Store(tmp_path)
    names = [added(store, "a", 1) for _ in range(2)]
    batches = [store.batch(name, "a") for name in names]
    batches[0]["status"] = "completed"
    store.save_batch(batches[0], "a")
    for name in names:  # as if it was killed before it could remove them
        for ending in ("grant", "journal"):
            (tmp_path / f"batches/{name}.{ending}").write_text("left")
    id = "0" * 30
    orphans = [
        tmp_path / f"files/file-{id}.data",
        tmp_path / f"batches/batch_{id}.grant",
        tmp_path / f"batches/.batch_{id}.json.trtbuild-0123abcd",
    ]
    foreign = tmp_path / "files/photo.data"
    for path in (*orphans, foreign):
        path.write_text("left")

    Store(tmp_path)
    assert [store.grant_of(name) for name in names] == [b"", b"left"]
    assert [store.journal_of(name).exists() for name in names] == [False, True]
    assert all(orphan.exists() for orphan in orphans)  # a gateway beside this one may write them
    damaged = tmp_path / f"files/file-{'1' * 30}.json"
    damaged.write_text("{")
    damaged.chmod(0o600)
    damaged.with_suffix(".data").write_text("somebody's")
    for path in tmp_path.glob("*/*"):
        os.utime(path, (0, 0))
    Store(tmp_path)
    assert not any(orphan.exists() for orphan in orphans) and foreign.exists()
    assert store.grant_of(names[1]) == b"left" and len(store.files("a")) == 2
    assert damaged.with_suffix(".data").exists()
    assert all(store.data_of(batch["input_file_id"]).exists() for batch in batches)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("*/*.json")} == {0o600}
