"""``infer`` with several texts, files, images and recordings: packed requests, JSON Lines out."""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from support.command_line import trtbuild
from trtbuild.client import Chunk
from trtbuild.client.llm import AsyncLLMClient
from trtbuild.client.transport import Transport
from trtbuild.errors import ServerError
from trtbuild.modelspec import Head
from trtbuild.signature import ServedModel, ServedTask, Tensor
from trtbuild.wire.tensors import InferRequest, Outputs, TensorValue

Sent = list[InferRequest]


def served(task: str, inputs: str, **more: Any) -> ServedModel:
    tensors = tuple(
        Tensor(name.rstrip("?"), "STRING", (1,), optional=name.endswith("?"))
        for name in inputs.split()
    )
    more.setdefault("max_batch_size", 4)
    return ServedModel(task, ServedTask(task), task, tensors, **more)


MODELS = {
    "embed": served("embed", "text"),
    "sparse": served("sparse", "text"),
    "multi-vector": served("multi-vector", "text"),
    "rerank": served("rerank", "query passage"),
    "score": served("score", "text text_pair?"),
    "classify": served("classify", "text text_pair?", head=Head(labels=tuple("abcdefg"))),
    "token-classify": served("token-classify", "text"),
    "image-classify": served("image-classify", "image", head=Head(labels=("cat", "dog"))),
    "transcribe": served("transcribe", "audio"),
    "llm": ServedModel(
        "llm", ServedTask.GENERATE, "vllm", (Tensor("text_input", "STRING", (1,)),
        Tensor("sampling_parameters", "STRING", (1,)), Tensor("image", "STRING", (-1,))),
    ),
}  # fmt: skip
ENTITY = {"entity_group": "LOC", "score": 0.5, "word": "x", "start": 0, "end": 1}
ANSWERS: dict[str, Callable[[int], dict[str, tuple[list[int], list[Any]]]]] = {
    "embed": lambda n: {"embeddings": ([n, 2], [1, 0.5] * n), "token_count": ([n, 1], [3] * n)},
    "sparse": lambda n: {"indices": ([n, 2], [7, -1] * n), "values": ([n, 2], [0.5, 0] * n)},
    "multi-vector": lambda n: {"token_embeddings": ([n, 2, 2], [1, 2, 3, 4] * n)},
    "rerank": lambda n: {"score": ([n, 1], [at / 10 for at in range(n)])},
    "score": lambda n: {"score": ([n, 1], [0.25] * n)},
    "classify": lambda n: {"scores": ([n, 7], [0.1, 0.2, 0.7, 0, 0, 0, 0] * n)},
    "token-classify": lambda n: {"entities": ([n, 1], [json.dumps([ENTITY])] * n)},
    "image-classify": lambda n: {"scores": ([n, 2], [0.25, 0.75] * n)},
    "transcribe": lambda n: {
        "text": ([n, 1], [b"hi"] * n),
        "segments": ([n, 1], [b'[{"start": 0, "end": 1, "text": "hi"}]'] * n),
    },
}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """The requests; a text ``too long`` is refused as our models refuse it."""
    found: Sent = []

    async def infer(
        _self: object, model: str, request: InferRequest, _timeout: float, **_: object
    ) -> Outputs:
        found.append(request)
        texts = list(request.inputs[0].data)
        if "too long" in texts:
            at = texts.index("too long")
            raise ServerError(f"the server refused: text {at} has 9 tokens and the model takes 8")
        rows = ANSWERS[model](len(texts)).items()
        return {name: TensorValue(name, "", tuple(shape), data) for name, (shape, data) in rows}

    async def described(_self: object, model: str, _timeout: float = 0) -> ServedModel:
        return MODELS[model]

    async def stream(_self: object, _model: str, request: Any, **_: object) -> Any:
        found.append(request)
        yield Chunk(f"re {request.prompt}", "stop", 2, 3)

    monkeypatch.setattr(Transport, "infer", infer)
    monkeypatch.setattr(AsyncLLMClient, "served", described)
    monkeypatch.setattr(AsyncLLMClient, "stream", stream)
    return found


def infer(*arguments: Any, stdin: str = "") -> CompletedProcess[str]:
    return trtbuild("infer", *arguments, "--url", "127.0.0.1:1", stdin=stdin.encode())


def lines(done: CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def sizes(sent: Sent) -> list[int]:
    return [len(one.inputs[0].data) for one in sent]


@pytest.mark.slow
def test_ten_thousand_texts_go_in_full_batches_and_come_back_in_order(
    sent: Sent, tmp_path: Path
) -> None:
    path = tmp_path / "texts.jsonl"
    rows = ({"id": f"d{at}", "text": str(at)} for at in range(10_000))
    path.write_text("\n".join(map(json.dumps, rows)))
    done = infer("embed", "--input", path, "--input-type", "passage", "--output", tmp_path / "out")
    assert done.returncode == 0 and done.stdout == ""
    assert set(sizes(sent)) == {4} and len(sent) == 2500
    assert sent[0].parameters == {"input_type": "passage"}
    made = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert [row["id"] for row in made] == [f"d{at}" for at in range(10_000)]
    first = {"index": 0, "id": "d0", "embedding": [1, 0.5], "dimensions": 2, "tokens": 3}
    assert made[0] == first
    assert re.search(r"10000 answers in .* s: .*/s · .* tokens/s · .*out", done.stderr)


def test_texts_are_arguments_lines_and_standard_input(sent: Sent, tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_bytes("\ufeffone\r\n\r\n{two\n".encode())
    found = lines(infer("embed", "zero", "-p", "more", "-i", path, "--json"))
    assert [row["index"] for row in found] == [0, 1, 2, 3]
    assert [text for one in sent for text in one.inputs[0].data] == ["zero", "more", "one", "{two"]
    piped = lines(infer("embed", "-i", "-", "--json", stdin='{"text": "a", "id": 7}\n"b"\n'))
    assert [row.get("id") for row in piped] == [7, None]
    shown = infer("embed", "a", "b").stdout.splitlines()
    assert shown[1] == "[1] 2 numbers, length 1.1180: 1.0000 0.5000"


def test_a_vector_as_openai_spells_it(sent: Sent) -> None:
    done = infer("embed", "a", "--embedding-type", "base64", "--json")
    vector = struct.unpack("<2f", base64.b64decode(json.loads(done.stdout)["embedding"]))
    assert vector == (1.0, 0.5) and sent[0].parameters == {}
    infer("embed", "a", "--embedding-type", "INT8", "--truncate", "END", "--prompt-name", "code")
    assert sent[1].parameters == {
        "embedding_type": "int8", "truncate": "END", "prompt_name": "code",
    }  # fmt: skip


def test_a_reranker_takes_documents_of_a_file_and_queries_with_their_own(
    sent: Sent, tmp_path: Path
) -> None:
    documents = tmp_path / "documents.jsonl"
    documents.write_text('{"title": "T", "text": "a"}\n"b"\n')
    found = infer("rerank", "q", "--documents", documents, "--document", "c", "--top-n", "2")
    assert found.stdout.splitlines() == ["   0.2000  [2] b", "   0.1000  [1] T a"]
    assert list(sent[0].inputs[1].data) == ["c", "T a", "b"]
    queries = tmp_path / "queries.jsonl"
    queries.write_text('{"query": "q", "documents": ["x", {"text": "y"}], "id": "one"}\n"r"\n')
    one, two = lines(infer("rerank", "-i", queries, "--document", "c", "--json"))
    assert one["id"] == "one" and [row["index"] for row in one["results"]] == [2, 1, 0]
    assert [row["index"] for row in two["results"]] == [0]
    assert {tuple(r.inputs[1].data) for r in sent[1:]} == {("x", "y", "c"), ("c",)}


@pytest.mark.parametrize(
    ("arguments", "row", "shown"),
    [
        (("sparse", "x"), {"indices": [7], "values": [0.5]}, "1 weights: 7:0.5000"),
        (("multi-vector", "x"), {"embeddings": [[1, 2], [3, 4]], "vectors": 2}, "2 vectors of 2"),
        (("score", "x", "--text-pair", "y"), {"score": 0.25, "logit": None}, "0.2500"),
        (("score", "x", "--document", "y"), {"score": 0.25}, "0.2500"),
        (("classify", "x", "--raw-scores"), {"label": "c"}, "… and 2 more labels"),
        (("token-classify", "xy", "--aggregation", "max"),
         {"entities": [{"label": "LOC", "score": 0.5, "text": "x", "start": 0, "end": 1}]},
         "0.5000  LOC  x"),
    ],
)  # fmt: skip
def test_each_task_of_texts(
    sent: Sent, arguments: tuple[str, ...], row: dict[str, Any], shown: str
) -> None:
    found = json.loads(infer(*arguments, "--json").stdout)
    assert row.items() <= found.items() and found["seconds"] > 0
    assert shown in infer(*arguments).stdout
    expected = {"--raw-scores": {"raw_scores": True}, "--aggregation": {"aggregation": "max"}}
    options = next((value for key, value in expected.items() if key in arguments), {})
    assert sent[0].parameters == options


def test_images_and_recordings_are_files(sent: Sent, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    found = lines(infer("image-classify", "--image", file, "--image", file, "--json"))
    assert [row["label"] for row in found] == ["dog", "dog"]
    assert list(sent[0].inputs[0].data) == [base64.b64encode(b"content").decode()] * 2
    file.write_bytes(b"RIFF\x04\0\0\0WAVE")
    done = infer("transcribe", "--audio", file, "--language", "de", "--timestamps", "--translate")
    assert done.stdout == "    0.00     1.00  hi\n"
    assert sent[1].parameters == {"language": "de", "task": "translate", "timestamps": True}
    listed = tmp_path / "audio.jsonl"
    listed.write_text(json.dumps({"audio": str(file)}))
    (row,) = lines(infer("transcribe", "-i", listed, "--json"))
    assert row["text"] == "hi" and row["segments"] == [{"start": 0, "end": 1, "text": "hi"}]


def test_prompts_of_a_file_and_images_go_to_a_model_that_generates(
    sent: list[Any], tmp_path: Path
) -> None:
    found = lines(infer("llm", "-i", "-", "--json", "--max-tokens", 3, stdin='a\n{"b\n'))
    assert [row["text"] for row in found] == ["re a", 're {"b']
    assert found[0]["output_tokens"] == 2 and sent[0].sampling.max_tokens == 3
    picture = tmp_path / "picture"
    picture.write_bytes(b"x")
    done = infer("llm", "what is it?", "--image", picture)
    assert done.stdout == "re what is it?\n" and sent[-1].images == ("eA==",)


@pytest.mark.parametrize(
    ("arguments", "stdin", "what"),
    [
        (("embed",), "", "there is no prompt"),
        (("embed", "-i", "-"), "\n \n", "there is nothing in standard input"),
        (("embed", "-i", "-"), '{"text": "a"}\n{"text": 1}\n', "standard input:2"),
        (("embed", "-i", "-"), '{"text": "a"}\nb\n', "not JSON"),
        (("embed", "-i", "-"), '{"text": "a"}\n[1]\n', "neither a text nor an object"),
        (("embed", "-i", "-"), '{"text": "\\ud800"}\n', "lone surrogate"),
        (("embed", "-i", "missing.txt"), "", "cannot read missing.txt"),
        (("embed", "a", "-i", "-", "-o", "no/file"), "b\n", "cannot write no/file"),
        (("embed", "a", "--documents", "d.txt"), "", "--documents is for rerankers"),
        (("embed", "a", "--image", "cat.png"), "", "--image is for models that take images"),
        (("embed", "--audio", "a.wav"), "", "--audio is for speech models"),
        (("embed", "a", "--truncate", "middle"), "", "unknown --truncate 'middle'"),
        (("embed", "a", "--embedding-type", "int4"), "", "unknown --embedding-type 'int4'"),
        (("embed", "a", "--input-type", "image"), "", "unknown --input-type 'image'"),
        (("classify", "a", "--dimensions", "2"), "", "--dimensions is for embedding models"),
        (("sparse", "a", "--dimensions", "2"), "", "--dimensions is for embedding models"),
        (("classify", "a", "b", "--text-pair", "c"), "", "2 texts have 1 second texts"),
        (("rerank", "-i", "-"), '{"query": "q"}\n', "standard input:1"),
        (("rerank", "-i", "-"), '{"query": "q", "documents": "d"}\n', "is not a list"),
        (("rerank", "q", "--documents", "missing.txt"), "", "cannot read missing.txt"),
        (("rerank", "-i", "-"), '{"query": "q", "documents": [1]}\n', "'text', or it is not"),
        (("image-classify", "text"), "", "takes no text: its task is image-classify"),
        (("image-classify", "--image", "missing.png"), "", "cannot read missing.png"),
        (("image-classify", "--image", "."), "", "cannot read ."),
        (("image-classify", "-i", "-"), '{"image": "none"}\n', "standard input:1"),
    ],
)
def test_what_cannot_be_asked(
    sent: Sent, arguments: tuple[str, ...], stdin: str, what: str
) -> None:
    done = infer(*arguments, stdin=stdin)
    said = " ".join(done.stderr.split())
    assert done.returncode == 2 and what in said and "fix:" in said
    assert done.stdout == "" and sent == []


def test_an_empty_file_is_no_image(sent: Sent, tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(200_000_000)
    for name, what in (("empty", "is empty"), ("huge", "has 200 MB")):
        done = infer("image-classify", "--image", tmp_path / f"{name}.png")
        assert done.returncode == 2 and what in done.stderr


def test_a_refused_text_is_named_by_its_line(sent: Sent, tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(["fits"] * 6 + ["too long", "fits"]))
    done = infer("embed", "-i", path, "--truncate", "none", "--json")
    assert done.returncode == 7 and "text 2 has 9 tokens" in done.stderr
    assert f"{path}:7" in "".join(done.stderr.split())
    assert len(done.stdout.splitlines()) == 4  # the batch before it
