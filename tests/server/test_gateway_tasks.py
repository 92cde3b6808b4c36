"""Every task through the gateway and a real Triton, by OpenAI's client where it has the call."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from support import triton
from support.gateways import Served, client, run_as_served, serving
from trtbuild_measure.bench.model import Prompt, Stream
from trtbuild_measure.bench.targets.openai_tasks import OpenAITaskTarget

Test = Callable[[Served], Awaitable[None]]


def in_front(server: triton.Triton, test: Test, **settings: Any) -> None:
    """Run a test with a gateway in front of the server."""

    async def run() -> None:
        async with serving(server.http, **settings) as served:
            await test(served)

    run_as_served(run())


def test_embeddings(tasks_server: triton.Triton) -> None:
    async def test(served: Served) -> None:
        # OpenAI's client asks for base64 unless it is told otherwise.
        answer = await client(served).embeddings.create(
            model="embedder", input=["a", "bb", "é"], dimensions=2
        )
        assert [row.embedding for row in answer.data] == [[1, 1], [2, 2], [1, 1]]
        assert answer.usage.prompt_tokens == 4
        raw = await served.post(
            "/v1/embeddings", model="embedder", input="abc", encoding_format="base64"
        )
        packed = base64.b64decode(raw.json()["data"][0]["embedding"])
        assert struct.unpack("<3f", packed) == (3, 3, 3)
        for given in ([1, 2], [[1, 2], [3]]):  # the second as LangChain sends them
            ids = await served.post("/v1/embeddings", model="embedder", input=given)
            assert ids.status_code == 400
            said = ids.json()["error"]["message"]
            assert "token ids" in said
            assert "check_embedding_ctx_length=False" in said

    in_front(tasks_server, test)


def test_rerank_in_every_form(tasks_server: triton.Triton) -> None:
    async def test(served: Served) -> None:
        documents = ["a", {"text": "bcd"}, "ab"]
        asked = {"model": "reranker", "query": "abc", "documents": documents}
        jina = (await served.post("/v1/rerank", **asked, top_n=2)).json()
        assert [row["index"] for row in jina["results"]] == [1, 2]
        assert jina["results"][0]["document"] == {"text": "bcd"}
        cohere = (await served.post("/v2/rerank", **asked)).json()
        assert [row["index"] for row in cohere["results"]] == [1, 2, 0]
        assert "document" not in cohere["results"][0]
        passages = [{"text": "a"}, {"text": "bcd"}]
        nim = await served.post(
            "/v1/ranking", model="reranker", query={"text": "abc"}, passages=passages
        )
        assert nim.json()["rankings"] == [{"index": 1, "logit": 0}, {"index": 0, "logit": -2}]
        scores = await served.post(
            "/v1/score", model="reranker", text_1="abc", text_2=["a", "bcd", "ab"]
        )
        assert [row["score"] for row in scores.json()["data"]] == [-2, 0, -1]

    in_front(tasks_server, test)


@pytest.mark.parametrize(
    ("model", "endpoint", "tokens"), [("embedder", "embeddings", 6), ("reranker", "rerank", None)]
)
def test_a_benchmark_asks_them(
    tasks_server: triton.Triton, model: str, endpoint: str, tokens: int | None
) -> None:
    async def test(served: Served) -> None:
        target = OpenAITaskTarget("t", f"{served.url}/v1", model, endpoint=endpoint)
        await target.open()
        stream = Stream(Prompt("a", 1, 1, texts=("a", "bb", "abc")), intended=0)
        await target.ask(stream)
        await target.close()
        assert (stream.error, stream.message) == ("", "")
        assert (stream.sequences, stream.input_tokens) == (3, tokens)
        assert 0 < stream.started < stream.ended

    in_front(tasks_server, test)


def test_similarity_by_embeddings(tasks_server: triton.Triton) -> None:
    async def test(served: Served) -> None:
        answer = await served.post("/v1/score", model="embedder", text_1=["a"], text_2=["a", "b"])
        assert [row["score"] for row in answer.json()["data"]] == pytest.approx([1, 1])

    in_front(tasks_server, test)


def test_classify(tasks_server: triton.Triton) -> None:
    async def test(served: Served) -> None:
        answer = (await served.post("/v1/classify", model="classifier", input=["a", "abcd"])).json()
        first, second = answer["data"]
        assert (first["label"], second["label"]) == ("short", "long")
        assert second["probs"] == [0.25, 0.75]
        assert second["num_classes"] == 2

    in_front(tasks_server, test)


def test_what_is_masked_reaches_no_model(tasks_server: triton.Triton) -> None:
    async def test(served: Served) -> None:
        mail, masked = "a@example.org", "[EMAIL]"  # the models count characters
        answer = await served.post("/v1/embeddings", model="embedder", input=[mail, "abc"])
        assert [row["embedding"][0] for row in answer.json()["data"]] == [len(masked), 3]
        ids = await served.post("/v1/embeddings", model="embedder", input=[1, 2])
        assert "searched for what is masked" in ids.json()["error"]["message"]
        asked = {"query": masked, "documents": [mail, {"text": "b@example.org or not"}]}
        ranked = (await served.post("/v1/rerank", model="reranker", **asked)).json()["results"]
        assert ranked[0]["document"] == {"text": masked}
        assert [row["relevance_score"] for row in ranked] == [0, -7]
        passages = [{"text": mail}]
        nim = await served.post(
            "/v1/ranking", model="reranker", query={"text": mail}, passages=passages
        )
        assert nim.json()["rankings"] == [{"index": 0, "logit": 0}]
        scores = await served.post("/v1/score", model="reranker", text_1=masked, text_2=[mail])
        assert [row["score"] for row in scores.json()["data"]] == [0]
        texts = await served.post("/v1/classify", model="classifier", input=[mail, masked])
        first, second = texts.json()["data"]
        assert first["probs"] == second["probs"]

    in_front(tasks_server, test, access={"masking": {"default": [{"find": ["email"]}]}})


def test_a_model_of_another_task_is_named(tasks_server: triton.Triton) -> None:
    async def test(served: Served) -> None:
        for path, body in (
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
            ("/v1/rerank", {"query": "a", "documents": ["b"]}),
        ):
            answer = await served.post(path, model="embedder", **body)
            assert answer.status_code == 400
            assert answer.json()["error"]["code"] == "unsupported_task"

    in_front(tasks_server, test)


def test_a_model_that_reports_neither_reason_nor_tokens(tasks_server: triton.Triton) -> None:
    async def test(served: Served) -> None:
        answer = await client(served).completions.create(
            model="letters", prompt="x", max_tokens=7, n=2
        )
        assert {choice.text for choice in answer.choices} == {"a" * 7}
        assert {choice.finish_reason for choice in answer.choices} == {"length"}
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 14
        refused = await served.post("/v1/completions", model="letters", prompt="x", top_p=0.5)
        error = refused.json()["error"]
        assert (refused.status_code, error["param"]) == (400, "top_p")

    in_front(tasks_server, test)


def test_a_client_that_leaves_a_light_model(tasks_server: triton.Triton) -> None:
    async def test(served: Served) -> None:
        stream = await client(served).completions.create(
            model="letters", prompt="x", max_tokens=1_000_000, stream=True
        )
        async for _ in stream:
            break
        await stream.close()
        async with asyncio.timeout(180):
            while "in_flight 0.0" not in (await served.client.get("/metrics")).text:
                await asyncio.sleep(0.01)

    in_front(tasks_server, test)
