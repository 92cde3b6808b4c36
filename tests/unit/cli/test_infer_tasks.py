"""``infer`` asks a model by its task: text in; JSON or a few lines out."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

import pytest

from support.command_line import trtbuild
from trtbuild.cli import up
from trtbuild.cli.server_view import say_ready
from trtbuild.errors import UsageError
from trtbuild.pipeline.tasks import TaskOptions, task_items, task_request
from trtbuild.signature import ServedModel, ServedTask, Tensor
from trtbuild.signature.requests import Ranked, RerankAnswer

MODELS: dict[str, tuple[dict[str, str], dict[str, str], dict[str, Any]]] = {
    "embedder": (
        {"text": "BYTES"}, {"embeddings": "FP32"},
        {"embeddings": ([1, 5], [0.6, 0.8, 0, 0, 0]), "token_count": ([1, 1], [7])},
    ),
    "reranker": (
        {"query": "BYTES", "passage": "BYTES"}, {"logit": "FP32"}, {"logit": ([2, 1], [-1.5, 2.5])},
    ),
    "classifier": ({"text": "BYTES"}, {"scores": "FP32"}, {"scores": ([1, 2], [0.25, 0.75])}),
    "images": ({"pixels": "FP32"}, {"classes": "FP32"}, {}),
}  # fmt: skip


class Triton(BaseHTTPRequestHandler):
    """Triton's HTTP endpoint, as far as ``infer`` asks it."""

    def do_GET(self) -> None:
        name, _, rest = self.path.removeprefix("/v2/models/").partition("/")
        inputs, outputs, _ = MODELS[name]
        if rest == "config":
            self.say({"max_batch_size": 4, "backend": "python"})
        else:
            rows = [
                [{"name": n, "datatype": kind, "shape": [-1, 1]} for n, kind in tensors.items()]
                for tensors in (inputs, outputs)
            ]
            self.say({"name": name, "platform": "", "inputs": rows[0], "outputs": rows[1]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        _, _, answers = MODELS[self.path.split("/")[3]]
        kinds = {"token_count": "INT32"}
        self.say({"outputs": [
            {"name": name, "datatype": kinds.get(name, "FP32"), "shape": shape, "data": data}
            for name, (shape, data) in answers.items()
        ]})  # fmt: skip

    def say(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Triton)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def infer(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TRTBUILD_STATE_DIR", str(tmp_path))

    def run(*arguments: str) -> CompletedProcess[str]:
        return trtbuild("infer", *arguments, "--url", url, "--protocol", "http")

    return run


def test_a_vector_as_a_line_and_as_json(infer: Any) -> None:
    done = infer("embedder", "-p", "hello")
    assert done.stdout == "5 numbers, length 1.0000: 0.6000 0.8000 0.0000 0.0000 …\n"
    assert "7 tokens" in done.stderr
    answer = json.loads(infer("embedder", "-p", "hello", "--json").stdout)
    assert answer["embedding"] == [0.6, 0.8, 0, 0, 0]
    assert (answer["dimensions"], answer["tokens"]) == (5, 7)


def test_documents_best_first(infer: Any) -> None:
    documents = ("--document", "a\n" * 80, "--document", "best")
    lines = infer("reranker", "-p", "q", *documents).stdout.splitlines()
    assert lines[0] == "   2.5000  [1] best"
    assert lines[1].startswith("  -1.5000  [0] a a a") and lines[1].endswith("…")
    answer = json.loads(infer("reranker", "-p", "q", *documents, "--json").stdout)
    assert [row["index"] for row in answer["results"]] == [1, 0]


def test_labels_best_first(infer: Any) -> None:
    assert infer("classifier", "-p", "x").stdout == "   0.7500  LABEL_1\n   0.2500  LABEL_0\n"
    answer = json.loads(infer("classifier", "-p", "x", "--json").stdout)
    assert answer["label"] == "LABEL_1" and answer["scores"] == {"LABEL_0": 0.25, "LABEL_1": 0.75}


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (("reranker", "-p", "q"), 2, "no documents: 'reranker' is a reranker"),
        (("embedder", "-p", "x", "--document", "d"), 2, "--document is for rerankers"),
        (("classifier", "-p", "x", "--input-type", "query"), 2, "--input-type is for embedding"),
        (("classifier", "-p", "x", "--dimensions", "2"), 2, "--dimensions is for embedding"),
        (("reranker", "-p", "x", "--dimensions", "2"), 2, "the task of 'reranker' is rerank"),
        (("embedder", "-p", "x", "--image", __file__), 2, "--image is for models that take images"),
        (("images", "-p", "x"), 7, "no request schema fits"),
    ],
)
def test_what_does_not_fit_the_task(
    infer: Any, arguments: tuple[str, ...], code: int, what: str
) -> None:
    done = infer(*arguments)
    assert done.returncode == code and done.stdout == ""
    assert what in " ".join(done.stderr.split()) and "fix" in done.stderr


def test_a_chat_needs_a_model_that_generates_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRTBUILD_STATE_DIR", str(tmp_path))
    model = tmp_path / "model_repository" / "m"
    model.mkdir(parents=True)
    (model / "config.pbtxt").write_text(
        'backend: "python" input { name: "text" } output { name: "embeddings" }'
    )
    done = trtbuild("infer", "m", "--chat", "-p", "hello")
    assert done.returncode == 2 and "'m' cannot chat: its task is embed" in done.stderr


def test_a_task_that_has_no_request_is_refused() -> None:
    model = ServedModel("m", ServedTask.TENSOR)
    with pytest.raises(UsageError, match="does not support the task tensor"):
        task_items(model, ["x"], TaskOptions())
    assert task_request(ServedModel("m", ServedTask.CHAT, "vllm"), "x", TaskOptions()) is None


EMBEDDER = ServedModel("m", ServedTask.EMBED, "embed", (Tensor("text", "STRING", (1,)),))
RERANKER = replace(EMBEDDER, task=ServedTask.RERANK, request_schema="rerank")
PAIRS = ServedModel(
    "m", ServedTask.SCORE, "score",
    (Tensor("text", "STRING", (1,)), Tensor("text_pair", "STRING", (1,))),
)  # fmt: skip
LLM = replace(EMBEDDER, task=ServedTask.GENERATE, request_schema="vllm")


@pytest.mark.parametrize(
    ("model", "infer_", "curl"),
    [
        (EMBEDDER, 'trtbuild infer m -p "Hello"', ""),
        (RERANKER, 'trtbuild infer m -p "Hello" --document "Hello"', ""),
        (replace(EMBEDDER, task=ServedTask.IMAGE_CLASSIFY), "trtbuild infer m --image FILE", ""),
        (replace(EMBEDDER, task=ServedTask.TRANSCRIBE), "trtbuild infer m --audio FILE", ""),
        (replace(EMBEDDER, task=ServedTask.SCORE), 'trtbuild infer m -p "Hello"', ""),
        (PAIRS, 'trtbuild infer m -p "Hello" --text-pair "Hello"', ""),
        (
            LLM,
            'trtbuild infer m -p "Hello"',
            '/v2/models/m/generate -d \'{"text_input": "Hello"}\'',
        ),
    ],
    ids=["embed", "rerank", "image", "audio", "score", "pairs", "generate"],
)
def test_a_ready_server_shows_how_to_ask(
    model: ServedModel, infer_: str, curl: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found: Any = SimpleNamespace(
        grpc_url="h:1", http_url="h:2", host="h", metrics_port=3, models=("m",), mode="embedded"
    )
    other = ServedModel("x", ServedTask.TENSOR)
    say_ready(found, "why", [other, model])
    said = capsys.readouterr().err
    assert infer_ + "\n" in said and "infer x" not in said
    assert curl in said if curl else "curl" not in said


@pytest.mark.parametrize("as_json", [False, True])
def test_up_asks_by_the_models_task(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def ask_task(_server: object, _model: object, request: Any, **_: object) -> RerankAnswer:
        asked.append(request)
        return RerankAnswer((Ranked(0, 1.5),))

    monkeypatch.setattr("trtbuild.pipeline.up.ask_task", ask_task)
    monkeypatch.setattr("trtbuild.cli.server_view.as_dict", lambda _: {})
    for model in (RERANKER, LLM):
        plan = SimpleNamespace(contents=SimpleNamespace(served={"m": model}))
        running: Any = SimpleNamespace(converted=SimpleNamespace(name="m"), plan=plan, server=None)
        assert up._other_task(running, "q", as_json=as_json) is (model is RERANKER)
    (request,) = asked
    assert request.query == "q" and len(request.documents) == 2
    said = capsys.readouterr().out
    if as_json:
        assert json.loads(said)["results"] == [{"index": 0, "score": 1.5, "logit": None}]
    else:
        assert said == f"   1.5000  [0] {request.documents[0]}\n"
