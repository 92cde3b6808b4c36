"""What vLLM pools answers, behind our model on a real server, as the reference does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from support import torch_families
from support.command_line import trtbuild
from support.exporting import Run, converting
from support.tiny_encoders import DIMENSION, TOKENS, make_embedder
from support.triton import Triton, title
from trtbuild.client import LLMClient
from trtbuild.client.reference import live_numbers, require_reference
from trtbuild.client.transport import Protocol
from trtbuild.errors import ServerError, UsageError
from trtbuild.server import read_contents
from trtbuild.signature.requests import (
    EmbedAnswer,
    EmbedRequest,
    RerankRequest,
)

HEADS = 1  # of a size that vLLM computes on a CPU
FAMILIES = (
    "bert", "bert-max-cls", "roberta", "xlm-roberta", "modernbert", "gemma3-text",
    "qwen3", "qwen2", "mistral", "llama", "bert-score", "xlm-roberta-score", "modernbert-score",
    "qwen3-score", "qwen3-reranker", "logit-score",
    "bert-tokens", "bert-attends",
)  # fmt: skip
Rows = list[dict[str, Any]]


def place(source: Path, server: Triton, work: Path, exporter: Run) -> tuple[str, Rows]:
    """Convert a checkpoint, load it on the shared server; its name and the reference's answers."""
    # 26.10 has a vLLM that reads the class names of sentence-transformers 6.
    where = ("--repo", work, "--backend", "vllm-pooling", "--triton", "26.10")
    settings = ("--set", "check=true", "--set", "enforce_eager=true", "--set", "max_num_seqs=16")
    with converting(exporter):
        done = trtbuild("convert", source, *where, *settings)
    assert done.returncode == 0, done.stderr
    shutil.copytree(work / source.name, server.repo / source.name)
    status, text = server.control("load", source.name)
    assert status == 200, text
    kept = json.loads((work / source.name / "1/reference.json").read_text())["kept"]
    return source.name, kept


def remove(server: Triton, name: str) -> None:
    server.control("unload", name)
    shutil.rmtree(server.repo / name, ignore_errors=True)


@pytest.fixture(scope="module")
def pooled(
    vllm_server: Triton, exporter: Run, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Rows]]:
    work = tmp_path_factory.mktemp("pooled")
    source = make_embedder(work / "source/pooled", HEADS)
    found = place(source, vllm_server, work / "repository", exporter)
    yield found
    remove(vllm_server, found[0])


@pytest.fixture(params=["grpc", "http"])
def client(vllm_server: Triton, request: pytest.FixtureRequest) -> Iterator[LLMClient]:
    protocol: Protocol = request.param
    url = vllm_server.grpc if protocol == "grpc" else vllm_server.http
    with LLMClient(url, protocol) as found:
        yield found


def embed(client: LLMClient, name: str, texts: list[str], **asked: Any) -> EmbedAnswer:
    answer = client.ask(name, EmbedRequest(tuple(texts), **asked))
    assert isinstance(answer, EmbedAnswer)
    return answer


def require_equal(vectors: Any, rows: Any) -> None:
    found, wanted = np.array(vectors), np.array(rows)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1e-5


@pytest.mark.parametrize("use", ["", "query", "passage"])
def test_vectors_are_those_of_sentence_transformers(
    client: LLMClient, pooled: tuple[str, Rows], use: str
) -> None:
    name, known = pooled
    rows = [row for row in known if row["input_type"] == use]
    assert len(rows) == 15
    texts = [row["item"] for row in rows]
    answer = embed(client, name, texts, input_type=use)
    require_equal(answer.vectors, [row["row"] for row in rows])
    assert max(answer.token_counts) == TOKENS
    (alone,) = embed(client, name, texts[-1:], input_type=use).vectors
    require_equal([alone], [rows[-1]["row"]])


def test_a_wrong_request_disturbs_nobody(client: LLMClient, pooled: tuple[str, Rows]) -> None:
    name, known = pooled
    for asked, message in (
        ({"dimensions": 9}, "dimensions 9 is not supported: send one of 8, 16"),
        ({"truncate": "none"}, "text 1 has 202 tokens and the model takes 40"),
        ({"input_type": "image"}, "unknown input_type 'image'"),
    ):
        with pytest.raises(ServerError, match=message):
            embed(client, name, ["fits", "x" * 100 + " " + "y" * 100], **asked)
    with pytest.raises(UsageError):
        client.ask(name, RerankRequest("a", ("b",)))
    cut = np.array(known[0]["row"][:8])
    (vector,) = embed(client, name, [known[0]["item"]], dimensions=8).vectors
    require_equal([vector], [cut / np.linalg.norm(cut)])


def test_more_texts_than_one_request_takes(vllm_server: Triton, pooled: tuple[str, Rows]) -> None:
    """The client splits them."""
    name, known = pooled
    with LLMClient(vllm_server.grpc) as client:
        texts = [known[0]["item"], *["a"] * 600]
        answer = embed(client, name, texts)
    assert len(answer.vectors) == 601
    require_equal(answer.vectors[:1], [known[0]["row"]])
    assert len(answer.vectors[0]) == DIMENSION


@pytest.mark.nightly
def test_a_killed_engine_is_told_and_the_server_lives(
    vllm_server: Triton, exporter: Run, tmp_path: Path
) -> None:
    def engines() -> set[psutil.Process]:
        return {one for one in vllm_server.children() if "EngineCore" in title(one)}

    before = engines()
    source = make_embedder(tmp_path / "source/doomed", HEADS)
    name, _ = place(source, vllm_server, tmp_path / "r", exporter)
    (engine,) = engines() - before
    try:
        with LLMClient(vllm_server.grpc) as client:
            assert embed(client, name, ["alive"]).vectors
            engine.kill()
            engine.wait(10)
            with pytest.raises(ServerError, match="the vLLM engine is dead"):
                embed(client, name, ["dead"])
    finally:
        remove(vllm_server, name)
    assert vllm_server.ready("smollm2")
    assert engines() == before


@pytest.mark.nightly
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_equals_its_reference(
    vllm_server: Triton, exporter: Run, tmp_path: Path, family: str
) -> None:
    source = tmp_path / "source"
    assert exporter(torch_families.__file__, source, f"{family}:{HEADS}") == 0
    name, rows = place(source / family, vllm_server, tmp_path / "repository", exporter)
    models = dict(read_contents(tmp_path / "repository").served)
    try:
        assert require_reference(vllm_server.grpc, models, tmp_path / "repository") == (name,)
        with LLMClient(vllm_server.grpc) as client:
            for row in rows:
                if "roberta" in family and "<pad>" in str(row["item"]):
                    continue  # transformers gives a padding token in a text no position, vLLM does
                apart = 1e-5 if models[name].task.makes_vectors else 1e-4
                found = live_numbers(client, models[name], row)
                assert found == pytest.approx(row["row"], abs=apart), row["item"]
    finally:
        remove(vllm_server, name)
