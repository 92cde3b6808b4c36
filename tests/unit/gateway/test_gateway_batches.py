"""``/v1/files`` and ``/v1/batches`` with OpenAI's own client: they survive a restart."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.access import add_key
from support.fake_triton import FakeTriton, fake_triton, words
from support.gateways import Served, client, run_as_served, serving, tokenizer
from trtbuild_gateway.access_settings import Limits
from trtbuild_gateway.failures import ApiError
from trtbuild_gateway.seams import Call

if TYPE_CHECKING:
    import openai

MODELS = {"m": {"tokenizer": str(tokenizer()), "context_length": 64}}


def line(name: str, content: str = "hi", **more: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": content}], "max_tokens": 4}
    return {
        "custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body | more,
    }  # fmt: skip


def lines(rows: Sequence[object]) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


async def until(sdk: openai.AsyncOpenAI, name: str, *states: str) -> Any:
    deadline = time.monotonic() + 180
    while (batch := await sdk.batches.retrieve(name)).status not in states:
        assert time.monotonic() < deadline, batch
        await asyncio.sleep(0.02)
    return batch


async def started(sdk: openai.AsyncOpenAI, content: bytes, **more: Any) -> Any:
    file = await sdk.files.create(file=("rows.jsonl", content), purpose="batch")
    given = {"endpoint": "/v1/chat/completions", "completion_window": "24h", **more}
    return await sdk.batches.create(input_file_id=file.id, **given)


async def results(sdk: openai.AsyncOpenAI, file: str) -> dict[str, Any]:
    text = (await sdk.files.content(file)).text
    return {row["custom_id"]: row for row in map(json.loads, text.splitlines())}


def settings(folder: Path) -> dict[str, Any]:
    return {"models": MODELS, "batches": {"directory": str(folder / "batches")}}


def test_a_batch_gets_the_model_it_asks_for_also_during_an_experiment(tmp_path: Path) -> None:
    async def run() -> None:
        variants = {"control": {"model": "m", "weight": 0}, "treatment": {"model": "other"}}
        more = settings(tmp_path) | {
            "exposures": {"directory": str(tmp_path / "exposures")},
            "experiments": [{"name": "sizes", "unit": "user", "variants": variants}],
        }
        async with (
            fake_triton(m=words("a"), other=words("b")) as triton,
            serving(triton.url, **more) as served,
            client(served) as sdk,
        ):
            batch = await started(sdk, lines([line("a", user="u1")]))
            done = await until(sdk, batch.id, "completed")
            found = await results(sdk, done.output_file_id)
            assert found["a"]["response"]["body"]["model"] == "m"

    run_as_served(run())


def test_a_batch_is_computed_and_its_errors_are_apart(tmp_path: Path) -> None:
    import openai

    async def run() -> None:
        async with (
            fake_triton(m=words("Hel", "lo", "!")) as triton,
            serving(triton.url, **settings(tmp_path)) as served,
        ):
            sdk = client(served)
            rows = [line(f"r{n}") for n in range(30)]
            rows += [line("long", "word " * 500), line("odd", model="nobody")]
            batch = await started(sdk, lines(rows), metadata={"job": "nightly"})
            assert (batch.status, batch.metadata) == ("validating", {"job": "nightly"})
            done = await until(sdk, batch.id, "completed")
            assert (done.request_counts.completed, done.request_counts.failed) == (30, 2)
            assert done.usage.output_tokens > 0 and done.completed_at >= done.in_progress_at
            good = await results(sdk, done.output_file_id)
            assert set(good) == {f"r{n}" for n in range(30)}
            body = good["r7"]["response"]["body"]
            assert body["choices"][0]["message"]["content"] == "Hello!"
            bad = await results(sdk, done.error_file_id)
            assert set(bad) == {"long", "odd"} and bad["odd"]["response"] is None
            assert bad["long"]["error"]["code"] == "context_length"
            assert "does not exist" in bad["odd"]["error"]["message"]

            await refused_ones(sdk, served)
            large = b"0123456789" * 100_000
            kept = await sdk.files.create(file=("large", large), purpose="batch")
            assert (await sdk.files.content(kept.id)).content == large  # sent in pieces
            names = [one.id async for one in await sdk.batches.list(limit=1)]
            assert names[-1] == done.id and len(names) == 2
            newest = [one.id async for one in await sdk.files.list(limit=2)]
            assert newest[0] == kept.id
            assert [one.id async for one in await sdk.files.list(order="asc")] == newest[::-1]
            assert (await sdk.files.retrieve(done.input_file_id)).filename == "rows.jsonl"
            assert (await sdk.files.delete(done.input_file_id)).deleted
            with pytest.raises(openai.NotFoundError, match="there is no file"):
                await sdk.files.content(done.input_file_id)

    run_as_served(run())


async def refused_ones(sdk: openai.AsyncOpenAI, served: Served) -> None:
    """What is wrong with a file, a batch, or a request."""
    import openai

    rows = [line("a"), line("a"), {**line("b"), "url": "/v1/embeddings"}, line("c", stream=True), 5]
    failed = await until(sdk, (await started(sdk, b"no\n" + lines(rows))).id, "failed")
    assert [(one.code, one.line) for one in failed.errors.data] == [
        ("invalid_json_line", 1),
        ("duplicate_custom_id", 3),
        ("mismatched_endpoint", 4),
        ("invalid_parameter", 5),
        ("missing_required_parameter", 6),
    ]
    for more, message in (
        ({"endpoint": "/v1/images"}, "'endpoint' must be one of"),
        ({"completion_window": "1h"}, "'completion_window' must be '24h'"),
        (
            {"output_expires_after": {"anchor": "created_at", "seconds": 3600}},
            "'output_expires_after': it is not supported",
        ),
    ):
        with pytest.raises(openai.BadRequestError, match=message):
            await started(sdk, lines(rows), **more)
    with pytest.raises(openai.ConflictError, match="the batch is failed"):
        await sdk.batches.cancel(failed.id)
    with pytest.raises(openai.NotFoundError, match="there is no batch"):
        await sdk.batches.retrieve("batch_..x")
    for path, status in (
        ("/v1/files/..%2f..%2fetc", 404),
        ("/v1/batches?limit=0", 400),
        ("/v1/batches?limit=101", 400),
        ("/v1/files?limit=101", 200),
        ("/v1/files?limit=10001", 400),
        ("/v1/files?order=random", 400),
    ):
        assert (await served.client.get(path)).status_code == status
    assert (await served.post("/v1/files", purpose="batch")).status_code == 400


def test_a_batch_survives_a_restart_and_a_cancelled_one_keeps_its_answers(tmp_path: Path) -> None:
    async def run() -> None:
        begin, *rest = words("o", "k")
        enough, may = 40, asyncio.Event()

        def script(_: Any) -> list[Any]:
            """The first answers come at once, the others when they may."""
            return [begin, *rest] if len(triton.bodies) <= enough else [begin, may, *rest]

        async with fake_triton(m=script) as triton:
            async with serving(triton.url, **settings(tmp_path)) as served:
                sdk = client(served)
                batch = await started(sdk, lines([line(f"r{n}") for n in range(120)]))
                await asked(triton, enough + 5)
                await stop_batches(served)
            assert len(triton.bodies) < 120
            may.set()
            async with serving(triton.url, **settings(tmp_path)) as served:
                sdk = client(served)
                done = await until(sdk, batch.id, "completed")
                assert done.request_counts.completed == 120
                assert len(await results(sdk, done.output_file_id)) == 120
                assert len(triton.bodies) <= 120 + 64

                may.clear()
                enough = len(triton.bodies) + 40
                batch = await started(sdk, lines([line(f"r{n}") for n in range(500)]))
                await asked(triton, enough + 5)
                assert (await sdk.batches.cancel(batch.id)).status == "cancelling"
                may.set()
                ended = await until(sdk, batch.id, "cancelled")
                assert 0 < ended.request_counts.completed < 500 and ended.cancelling_at
                kept = await results(sdk, ended.output_file_id)
                assert len(kept) == ended.request_counts.completed

    run_as_served(run())


async def asked(triton: FakeTriton, requests: int) -> None:
    """Wait until the server has so many requests."""
    async with asyncio.timeout(180):
        while len(triton.bodies) < requests:
            await asyncio.sleep(0.01)


async def stop_batches(served: Served) -> None:
    """End the application as a shutdown does."""
    await served.server.lifespan.shutdown()


def test_without_a_directory_there_are_none(tmp_path: Path) -> None:
    async def run() -> None:
        async with fake_triton(m=words("a")) as triton, serving(triton.url) as served:
            answer = await served.client.get("/v1/batches")
            assert answer.status_code == 404
            assert answer.json()["error"]["code"] == "batches_off"

    run_as_served(run())


def test_batches_belong_to_a_key_and_end_with_it(tmp_path: Path) -> None:
    import openai

    file = tmp_path / "keys.json"
    key, other = add_key(file), add_key(file, "other")
    narrow = add_key(file, "narrow", endpoints=("/v1/batches", "/v1/files"))

    async def run() -> None:
        async with (
            fake_triton(m=words("ok")) as triton,
            serving(triton.url, **settings(tmp_path), access={"keys": str(file)}) as served,
        ):
            mine, theirs = client(served, key), client(served, other)
            done = await until(mine, (await started(mine, lines([line("a")]))).id, "completed")
            assert done.request_counts.completed == 1
            for call in (
                theirs.batches.retrieve(done.id),
                theirs.files.content(done.output_file_id),
                theirs.files.delete(done.input_file_id),
                theirs.batches.cancel(done.id),
            ):
                with pytest.raises(openai.NotFoundError):
                    await call
            assert not (await theirs.batches.list()).data
            with pytest.raises(openai.AuthenticationError):
                await client(served).batches.list()
            limited = client(served, narrow)
            with pytest.raises(openai.PermissionDeniedError, match="may not use /v1/chat"):
                await started(limited, lines([line("a")]))

            gate = served.gateway.gate
            with pytest.raises(ApiError, match="is not admitted any more"):
                await gate.again("0123456789ab", Call("r", "/v1/chat/completions"))
            await started(theirs, lines([line("a")]))

    run_as_served(run())


def test_files_and_batches_have_limits_of_requests_and_of_bytes(tmp_path: Path) -> None:
    import openai

    file = tmp_path / "keys.json"
    key, other = add_key(file), add_key(file, "other", limits=Limits(requests_per_minute=2))
    content = lines([line("a")])

    async def run() -> None:
        given = settings(tmp_path)
        given["batches"]["most_bytes"] = 2 * len(content) - 1
        async with (
            fake_triton(m=words("ok")) as triton,
            serving(triton.url, **given, access={"keys": str(file)}) as served,
        ):
            mine, limited = client(served, key), client(served, other)
            one = await mine.files.create(file=("a.jsonl", content), purpose="batch")
            with pytest.raises(openai.APIStatusError, match=r"delete some") as refused:
                await mine.files.create(file=("a.jsonl", content), purpose="batch")
            assert (refused.value.status_code, refused.value.code) == (413, "storage_quota")
            assert len((await mine.files.list()).data) == 1
            await mine.files.delete(one.id)
            batch = await started(mine, content)
            done = await until(mine, batch.id, "completed")  # its answer may be over the quota
            assert done.output_file_id
            with pytest.raises(openai.APIStatusError, match="delete some"):
                await mine.batches.create(
                    input_file_id=done.input_file_id,
                    endpoint="/v1/chat/completions",
                    completion_window="24h",
                )

            for metadata in ({"a": "x" * 513}, {str(n): "x" for n in range(17)}, {"a": 1}):
                with pytest.raises(openai.BadRequestError, match="invalid value for 'metadata"):
                    await mine.batches.create(
                        input_file_id=done.input_file_id,
                        endpoint="/v1/chat/completions",
                        completion_window="24h",
                        metadata=metadata,
                    )
            for wrong in ("0", "²", "9" * 5000):
                with pytest.raises(openai.BadRequestError, match="'limit' must be 1 to 100"):
                    await mine.batches.list(extra_query={"limit": wrong})

            kept = await limited.files.create(file=("a.jsonl", content), purpose="batch")
            await limited.files.list()
            for call in (
                limited.files.list(),
                limited.files.content(kept.id),
                limited.files.delete(kept.id),
                limited.batches.list(),
                limited.files.create(file=("a.jsonl", content), purpose="batch"),
            ):
                with pytest.raises(openai.RateLimitError, match="2 requests per minute"):
                    await call
            assert (await limited.files.retrieve(kept.id)).id == kept.id

    run_as_served(run())
