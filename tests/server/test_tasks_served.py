"""Embedding, reranking and classifying models on a real Triton, over both protocols."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support import triton
from support.command_line import trtbuild
from support.retrieval import write_set
from support.tasks_server import MODELS
from trtbuild import repository
from trtbuild.client import LLMClient, wait_ready
from trtbuild.client.transport import Protocol, Transport
from trtbuild.errors import ServerError, UsageError
from trtbuild.signature.requests import (
    ClassifyRequest,
    EmbedAnswer,
    EmbedRequest,
    RerankAnswer,
    RerankRequest,
    SparseAnswer,
    TokenClassifyRequest,
    TranscribeRequest,
)
from trtbuild.wire.blocking import run
from trtbuild.wire.tensors import InferRequest, TensorValue

SHOWN = {
    "embedder": "'embeddings'", "reranker": "'logit': -", "classifier": "'label': 'long'",
    "splade": "'indices'", "colbert": "'vector_count': 31", "scorer": "'score': 0.09",
    "ner": "entity_group", "pictures": "'label': 'long'", "speech": "'text': '12 characters'",
}  # fmt: skip


@pytest.fixture
def server(tasks_server: triton.Triton) -> triton.Triton:
    return tasks_server


def test_readiness_asks_each_task_a_question(server: triton.Triton) -> None:
    assert wait_ready(server.grpc, list(MODELS), 180) < 180


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_each_task_over_both_protocols(server: triton.Triton, protocol: Protocol) -> None:
    url = server.grpc if protocol == "grpc" else server.http
    with LLMClient(url, protocol) as client:
        embedded = client.ask("embedder", EmbedRequest(("a", "bb", "é"), dimensions=2))
        assert embedded == EmbedAnswer(((1, 1), (2, 2), (1, 1)), (1, 2, 1))
        ranked = client.ask("reranker", RerankRequest("abc", ("a", "bcd", "ab"), top_n=2))
        assert isinstance(ranked, RerankAnswer)
        assert [one.index for one in ranked.results] == [1, 2]
        (first, second) = client.ask("classifier", ClassifyRequest(("a", "abcd"))).results  # type: ignore[union-attr]
        assert (first.label, second.label) == ("short", "long")
        assert second.scores == {"LABEL_0": 0.25, "LABEL_1": 0.75}
        with pytest.raises(ServerError, match="no such input_type"):
            client.ask("embedder", EmbedRequest(("a",), input_type="wrong"))


def test_every_other_task_answers(server: triton.Triton) -> None:
    with LLMClient(server.grpc) as client:
        two = EmbedRequest(("ab", "a", "abc"))
        sparse = client.ask("splade", two)
        assert sparse == SparseAnswer(({7: 0.5}, {7: 0.5}, {7: 0.5}))
        vectors = client.ask("colbert", two)
        assert [len(one) for one in vectors.vectors] == [2, 1, 3]  # type: ignore[union-attr]
        found = client.ask("ner", TokenClassifyRequest(("abc", "é")))
        assert [row[0].end for row in found.results] == [3, 1]  # type: ignore[union-attr]
        said = client.ask("speech", TranscribeRequest(("QUJD",) * 3))
        assert [one.text for one in said.results] == ["4 characters"] * 3  # type: ignore[union-attr]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_more_texts_than_a_batch_go_in_parts_and_a_raw_request_is_refused(
    server: triton.Triton, protocol: Protocol
) -> None:
    url = server.grpc if protocol == "grpc" else server.http
    texts = tuple("x" * (1 + at % 7) for at in range(10_000))

    async def raw() -> None:
        rows = TensorValue("text", "BYTES", (10_000, 1), texts)
        transport = Transport(url, protocol)
        try:
            await transport.infer("embedder", InferRequest((rows,)), 180, decoupled=False)
        finally:
            await transport.close()

    with pytest.raises(ServerError, match="batch-size must be <= 2"):
        run(raw())
    with LLMClient(url, protocol) as client:
        answer = client.ask("embedder", EmbedRequest(texts[:300]))
        assert [one[0] for one in answer.vectors] == [len(text) for text in texts[:300]]  # type: ignore[union-attr]
        with pytest.raises(UsageError, match="'reranker' cannot embed"):
            client.ask("reranker", EmbedRequest(("a",)))
        with pytest.raises(UsageError, match="no text was given"):
            client.ask("embedder", EmbedRequest(()))


@pytest.mark.parametrize("name", MODELS)
def test_the_shown_client_code_of_each_task_runs(
    server: triton.Triton, name: str, tmp_path: Path
) -> None:
    """The first calls of the code itself, with a file where it names one."""
    (tmp_path / "image.png").write_bytes(b"content..")
    (tmp_path / "audio.wav").write_bytes(b"content..")
    repo = server.log.parent / "repository"
    code = repository.show(
        repo, name, grpc_url=server.grpc, http_url=f"http://{server.http}"
    ).clients
    for protocol in ("grpc", "http", "curl"):
        start = ["bash", "-ec"] if protocol == "curl" else [sys.executable, "-c"]
        done = subprocess.run(
            [*start, code[protocol]],
            check=False,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=180,
        )
        assert done.returncode == 0, done.stderr
        wanted = SHOWN[name].partition("':")[0].strip("'") if protocol == "curl" else SHOWN[name]
        assert wanted in done.stdout, (protocol, done.stdout)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_sequences_are_measured(server: triton.Triton, protocol: str) -> None:
    url = server.grpc if protocol == "grpc" else server.http
    load = ("--texts", "1,4", "--concurrency", 2, "--requests", 20, "--prompt-tokens", 8)
    done = trtbuild("bench", f"triton:{protocol}://{url}/embedder", *load, "--json")
    assert done.returncode == 0, done.stderr
    one, four = json.loads(done.stdout)["targets"][0]["loads"]
    assert one["requests"]["ok"] == four["requests"]["ok"] == 20
    metrics = four["metrics"]
    assert metrics["sequences_per_s"] == pytest.approx(4 * metrics["requests_per_s"], rel=1e-4)
    assert metrics["ttft_ms"] is None and four["tokens"]["input"] > 80 * 8


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_infer_asks_by_the_models_task(server: triton.Triton, protocol: str) -> None:
    url = server.grpc if protocol == "grpc" else server.http
    where = ("--url", url, "--protocol", protocol)
    done = trtbuild("infer", "embedder", "-p", "abcd", "--dimensions", 2, "--json", *where)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["embedding"], answer["tokens"]) == ([4.0, 4.0], 4)
    documents = ("--document", "far away", "--document", "abc")
    done = trtbuild("infer", "reranker", "-p", "abc", *documents, *where)
    assert done.stdout.split("\n")[0].split() == ["0.0000", "[1]", "abc"]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_models_are_evaluated_by_their_task(
    server: triton.Triton, protocol: str, tmp_path: Path
) -> None:
    """The embedder's vectors grow with a text, so by dot product the longest is first; the
    reranker's first has the query's own length."""
    documents = {f"d{at}": "a" * at for at in (1, 2, 3, 5)}
    queries = {"q1": "xxx", "q2": "xx"}
    data = write_set(tmp_path / "set", documents, queries, [("q1", "d3", 1), ("q2", "d2", 1)])
    url = server.grpc if protocol == "grpc" else server.http
    targets = [f"{name}={protocol}://{url}/{name}" for name in MODELS]
    where = ("--data", data, "--measure", "mrr", "--json")
    dot = ("--similarity", "dot")
    done = trtbuild("eval", *targets[:2], *where, *dot, "--max-drop", "mrr=0.1")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    one, other = found["targets"]
    assert one["measures"]["mrr"]["queries"] == pytest.approx({"q1": 1 / 2, "q2": 1 / 3})
    assert other["measures"]["mrr"]["queries"] == {"q1": 1, "q2": 1}
    assert (one["dimensions"], other["candidates"]) == (3, "bm25")
    assert found["comparisons"][0]["measures"]["mrr"]["better"] == 2
    done = trtbuild("eval", targets[1], targets[0], *where, *dot, "--max-drop", "mrr=0.1")
    assert done.returncode == 9
    done = trtbuild("eval", targets[2], *where)
    assert (done.returncode, "its task is classify" in done.stderr) == (2, True)
    done = trtbuild("eval", targets[1], *where[:2], "--dimensions", 2)
    assert (done.returncode, "--dimensions is for an embedding" in done.stderr) == (2, True)
