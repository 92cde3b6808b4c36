"""Embedding, reranking and classifying models on a real Triton, over both protocols."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support import triton
from support.command_line import trtbuild
from support.retrieval import write_set
from support.tasks_server import MODELS
from trtbuild.client import LLMClient, wait_ready
from trtbuild.client.transport import Protocol
from trtbuild.errors import ServerError
from trtbuild.signature.requests import (
    ClassifyRequest,
    EmbedAnswer,
    EmbedRequest,
    RerankAnswer,
    RerankRequest,
)


@pytest.fixture
def server(tasks_server: triton.Triton) -> triton.Triton:
    return tasks_server


def test_readiness_asks_each_task_a_question(server: triton.Triton) -> None:
    assert wait_ready(server.grpc, list(MODELS), 30) < 30


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
