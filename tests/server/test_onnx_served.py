"""A checkpoint exported to ONNX answers on a real server as sentence-transformers does."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from support import real_encoders, token_pipeline, torch_families
from support.command_line import trtbuild
from support.exporting import Run, converting
from support.lanes import rounds
from support.served import client_of, kept, serving
from support.tiny_encoders import DIMENSION, TOKENS, make_embedder
from trtbuild.client import LLMClient
from trtbuild.client.reference import live_numbers, require_reference
from trtbuild.errors import ServerError
from trtbuild.server import (
    ServerHandle,
    read_contents,
)
from trtbuild.signature import ServedModel
from trtbuild.signature.requests import (
    EmbedAnswer,
    EmbedRequest,
    MultiVectorAnswer,
    TokenClassifyAnswer,
    TokenClassifyRequest,
)
from trtbuild_builders.onnx import export

OUTSIDE = "bert-tokens"
# The rules for words differ between the tokenizers of the last three.
OTHERS = (OUTSIDE, "bert-colbert", "roberta-tokens", "deberta-v2-tokens")[: rounds(1, 4)]
LABELLED = tuple(name for name in OTHERS if name.endswith("-tokens"))
TEXTS = (
    "Anna lives in Oslo, and Ben Müller does not.",
    "  two  spaces, a\ttab and e-mail@example.com\n",
    "unaffordable 1234567890 東京 ☃ (x)",
)


@pytest.fixture(scope="module")
def repository(exporter: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of several heads, by the real export environment; one has its weights outside."""
    work = tmp_path_factory.mktemp("onnx")
    make_embedder(work / "tiny")
    with converting(exporter):
        assert exporter(torch_families.__file__, work, *OTHERS) == 0
        for name in ("tiny", *OTHERS):
            more = ("--contract", "openai-frontend") if name == "tiny" else ()
            above = 0 if name == OUTSIDE else export.EXTERNAL_ABOVE
            with mock.patch.object(export, "EXTERNAL_ABOVE", above):
                done = trtbuild("convert", work / name, "--repo", work / "repository", *more)
            assert done.returncode == 0, done.stderr
    return work / "repository"


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerHandle]:
    """The program's own server, with the real ONNX Runtime."""
    with serving(
        repository, ["tiny", "tiny_openai", *OTHERS], tmp_path_factory.mktemp("state")
    ) as found:
        yield found


@pytest.fixture(scope="module")
def known(repository: Path) -> list[dict[str, Any]]:
    """What the reference answered at the conversion."""
    return kept(repository, "tiny")


@pytest.fixture(params=["grpc", "http"])
def client(server: ServerHandle, request: pytest.FixtureRequest) -> Iterator[LLMClient]:
    with client_of(server, request.param) as found:
        yield found


def embed(client: LLMClient, texts: list[str], **asked: Any) -> EmbedAnswer:
    answer = client.ask("tiny", EmbedRequest(tuple(texts), **asked))
    assert isinstance(answer, EmbedAnswer)
    return answer


def require_equal(vectors: Any, rows: list[list[float]]) -> None:
    found, wanted = np.array(vectors), np.array(rows)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1e-5
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    assert ((found * wanted).sum(axis=1) / lengths).min() >= 0.99999


@pytest.mark.parametrize("use", ["", "query", "passage"])
def test_vectors_are_those_of_sentence_transformers(
    client: LLMClient, known: list[dict[str, Any]], use: str
) -> None:
    rows = [row for row in known if row["input_type"] == use]
    assert len(rows) == 15
    texts = [row["item"] for row in rows]
    alone = [embed(client, [text], input_type=use).vectors[0] for text in texts]
    require_equal(alone, [row["row"] for row in rows])
    ragged = embed(client, texts, input_type=use)
    require_equal(ragged.vectors, [row["row"] for row in rows])
    assert max(ragged.token_counts) == TOKENS


def test_dimensions_are_cut_and_normalized_again(
    client: LLMClient, known: list[dict[str, Any]]
) -> None:
    (vector,) = embed(client, [known[0]["item"]], dimensions=8).vectors
    cut = np.array(known[0]["row"][:8])
    require_equal([vector], [list(cut / np.linalg.norm(cut))])
    assert len(embed(client, ["a"], dimensions=DIMENSION).vectors[0]) == DIMENSION


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"dimensions": 9}, "dimensions 9 is not supported: send one of 8, 16"),
        ({"input_type": "image"}, "unknown input_type 'image': send query or passage"),
        ({"truncate": "middle"}, "unknown truncate 'MIDDLE': send NONE, END or START"),
        ({"truncate": "none"}, "text 1 has 202 tokens and the model takes 40"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(
    client: LLMClient, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(ServerError, match=message):
        embed(client, ["fits", "x" * 100 + " " + "y" * 100], **asked)
    assert embed(client, ["the model still answers"]).vectors


def test_each_end_can_be_cut(client: LLMClient) -> None:
    beginning, end = "ab " * 60, "yz " * 60
    whole = [beginning + end]
    by_end = embed(client, whole, truncate="end").vectors
    by_start = embed(client, whole, truncate="start").vectors
    assert by_end == embed(client, [beginning], truncate="end").vectors
    assert by_start == embed(client, [end], truncate="start").vectors
    assert embed(client, whole).vectors == by_end


def test_the_second_model_answers_as_the_first(client: LLMClient) -> None:
    texts = ("a text", "", "another, longer text")
    first = embed(client, list(texts))
    second = client.ask("tiny_openai", EmbedRequest(texts))
    assert isinstance(second, EmbedAnswer) and second.token_counts == first.token_counts
    require_equal(second.vectors, [list(one) for one in first.vectors])
    cut = client.ask("tiny_openai", EmbedRequest(("a text",), dimensions=8))
    assert isinstance(cut, EmbedAnswer) and len(cut.vectors[0]) == 8
    with pytest.raises(ServerError, match="dimensions 9 is not supported"):
        client.ask("tiny_openai", EmbedRequest(("a text",), dimensions=9))


def test_readiness_proves_the_numbers(
    server: ServerHandle, repository: Path, tmp_path: Path
) -> None:
    models = dict(read_contents(repository).served)
    assert set(require_reference(server.grpc_url, models, repository)) == {"tiny", *OTHERS}
    kept = json.loads((repository / "tiny/1/reference.json").read_text())
    kept["kept"][0]["row"].reverse()
    other = tmp_path / "other/tiny/1"
    other.mkdir(parents=True)
    (other / "reference.json").write_text(json.dumps(kept))
    with pytest.raises(ServerError, match="'tiny' does not answer as its reference does"):
        require_reference(server.grpc_url, models, tmp_path / "other")


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_a_running_server_is_compared_with_a_repository(
    server: ServerHandle, repository: Path, tmp_path: Path, scheme: str
) -> None:
    url = scheme + (server.http_url.removeprefix("http://") if scheme else server.grpc_url)
    done = trtbuild("validate", repository, "--live", url)
    assert done.returncode == 0, done.stdout
    other = shutil.copytree(repository, tmp_path / "other", symlinks=True)
    path = other / "tiny/1/reference.json"
    kept = json.loads(path.read_text())
    kept["kept"][0]["row"].reverse()
    path.unlink()
    path.write_text(json.dumps(kept))
    done = trtbuild("validate", other, "--live", url, "--ignore", "lock", "--json")
    (found,) = [one for one in json.loads(done.stdout)["findings"] if one["rule"] == "TRT959"]
    assert done.returncode == 6 and found["model"] == "tiny"
    assert re.search(r"reference does: cosine -?0\.\d+, largest difference 0\.", found["message"])


def test_as_many_texts_as_there_are(client: LLMClient) -> None:
    texts = [f"text {number}" for number in range(600)]
    answer = embed(client, texts)
    assert len(answer.vectors) == 600
    require_equal([answer.vectors[599]], [list(embed(client, ["text 599"]).vectors[0])])


# ------------------------------------------------------------------------------------ other heads


def test_large_weights_are_beside_the_graph(repository: Path) -> None:
    graph, *weights = sorted(
        (repository / f"{OUTSIDE}_core/1").iterdir(), key=lambda path: len(path.name)
    )
    assert graph.name == "model.onnx"
    assert sum(path.stat().st_size for path in weights) > 50_000
    assert [path.name for path in (repository / "tiny_core/1").iterdir()] == ["model.onnx"]


@pytest.mark.nightly
@pytest.mark.parametrize("use", ["query", "passage"])
def test_a_query_is_filled_and_a_passage_is_not(
    client: LLMClient, repository: Path, use: str
) -> None:
    path = repository / "bert-colbert/1/reference.json"
    rows = [row for row in json.loads(path.read_text())["kept"] if row["input_type"] == use]
    texts = tuple(row["item"] for row in rows)
    answer = client.ask("bert-colbert", EmbedRequest(texts, input_type=use))
    assert isinstance(answer, MultiVectorAnswer)
    found = answer.vectors
    for vectors, row in zip(found, rows, strict=True):
        assert np.abs(np.ravel(vectors) - row["row"]).max() <= 1e-5
    sizes = {len(vectors) for vectors in found}
    assert sizes == {16} if use == "query" else len(sizes) > 1


def test_entities_are_those_of_the_text(client: LLMClient) -> None:
    text = "Anna lives in Oslo, and Ben Müller does not."
    for how in ("none", "simple", "first", "average", "max"):
        answer = client.ask("bert-tokens", TokenClassifyRequest((text, ""), aggregation=how))
        assert isinstance(answer, TokenClassifyAnswer)
        entities, nothing = answer.results
        assert nothing == ()
        assert entities
        assert all(text[one.start : one.end] == one.text for one in entities)
        labels = {"PER", "LOC"} if how != "none" else {"B-PER", "I-PER", "B-LOC", "I-LOC"}
        assert {one.label for one in entities} <= labels
    with pytest.raises(ServerError, match="unknown aggregation 'all': send none, simple"):
        client.ask("bert-tokens", TokenClassifyRequest((text,), aggregation="all"))


@pytest.mark.parametrize("name", LABELLED)
def test_entities_are_those_of_transformers_pipeline(
    server: ServerHandle, exporter: Run, repository: Path, tmp_path: Path, name: str
) -> None:
    asked, answers = tmp_path / "texts.json", tmp_path / "answers.json"
    asked.write_text(json.dumps(TEXTS))
    log = tmp_path / "log"
    folder = repository.parent / name
    assert exporter(token_pipeline.__file__, folder, asked, answers, log=log) == 0, log.read_text()
    known = json.loads(answers.read_text())
    with client_of(server, "grpc") as client:
        for how in token_pipeline.HOW:
            answer = client.ask(name, TokenClassifyRequest(TEXTS, aggregation=how))
            assert isinstance(answer, TokenClassifyAnswer)
            for text, entities, wanted in zip(TEXTS, answer.results, known[how], strict=True):
                found = [(one.label, one.start, one.end) for one in entities]
                assert found == [tuple(row[:3]) for row in wanted], (how, text)
                scores = [one.score for one in entities]
                assert scores == pytest.approx([row[3] for row in wanted], abs=1e-4)
    assert any(known["first"]) and known["first"] != known["average"]


@pytest.mark.nightly
def test_published_checkpoints_equal_their_reference(exporter: Run, tmp_path: Path) -> None:
    """A real MiniLM and a real SPLADE: each text alone, and in one ragged request."""
    repository = tmp_path / "repository"
    sparse = real_encoders.checkpoint("splade")
    sources = {
        "minilm": real_encoders.checkpoint("all-MiniLM-L6-v2"),
        "splade": real_encoders.with_sparse_head(sparse, tmp_path / "splade", exporter),
    }
    with converting(exporter):
        for name, source in sources.items():
            done = trtbuild("convert", source, "--name", name, "--repo", repository)
            assert done.returncode == 0, done.stderr
    models = dict(read_contents(repository).served)
    with serving(repository, list(sources), tmp_path / "state") as server:
        for protocol in ("grpc", "http"):
            with client_of(server, protocol) as client:
                for name in sources:
                    require_rows(client, models[name], kept(repository, name))


def require_rows(client: LLMClient, model: ServedModel, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        others = [other["item"] for other in rows if other is not row]
        for beside in ((), others):
            found = np.array(live_numbers(client, model, row, beside))
            wanted = np.array(row["row"])
            scale = max(1.0, float(np.abs(wanted).max()))
            assert np.abs(found - wanted).max() <= 1e-5 * scale, row["item"]
