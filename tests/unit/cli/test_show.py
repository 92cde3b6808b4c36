"""``trtbuild show``: tensors, meanings, and client code that is really code."""

from __future__ import annotations

import ast
import json
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import pytest

from support.checkpoints import make_llama
from support.places import places
from trtbuild import pbtxt, repository
from trtbuild.errors import RepositoryError, UsageError
from trtbuild.pipeline.convert import convert
from trtbuild.recipe import ModelRecipe

HOSTILE = "x'\"; import os #\\"


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("show")
    source = str(make_llama(folder / "llama"))
    with places(folder):
        convert(ModelRecipe(source=source, name="bot"), repository=folder / "repo")
    return folder / "repo"


def other(repo: Path, name: str, **fields: Any) -> Path:
    """A model of another backend."""
    config = {
        "name": name,
        "backend": "python",
        "input": [
            {"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 3]},
            {"name": "s", "data_type": "TYPE_STRING", "dims": [1]},
            {"name": "o", "data_type": "TYPE_INT64", "dims": [1], "optional": True},
        ],
        "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [1]}],
        **fields,
    }
    (repo / name / "1").mkdir(parents=True)
    (repo / name / "config.pbtxt").write_text(pbtxt.render(pbtxt.model_config(**config)))
    return repo


@pytest.mark.parametrize("decoupled", [True, False])
def test_a_model_of_the_llm_api_has_its_own_clients(repo: Path, decoupled: bool) -> None:
    settings = {"max_seq_len": 64, "triton_config": {"decoupled": decoupled}}
    name = f"api-{decoupled}"
    source = str(repo.parent / "llama")
    recipe = ModelRecipe(source=source, name=name, backend="trtllm", engine=settings)
    convert(recipe, repository=repo)
    view = repository.show(repo, name)
    assert view.kind == "trtllm"
    assert view.engine["max_seq_len"] == 64
    assert all(tensor.meaning for tensor in view.outputs)
    for protocol in ("grpc", "http"):
        code = view.clients[protocol]
        ast.parse(code)
        assert f"{decoupled}" in code
        assert "sampling_param_" in code
    assert ("generate_stream" in view.clients["curl"]) is decoupled


def test_tensors_say_what_they_mean(repo: Path) -> None:
    view = repository.show(repo, "bot")
    assert (view.kind, view.backend, view.decoupled) == ("vllm", "vllm", True)
    rows = {tensor.name: tensor for tensor in (*view.inputs, *view.outputs)}
    assert not rows["text_input"].optional
    assert rows["sampling_parameters"].optional
    assert all(tensor.meaning for tensor in rows.values())
    assert view.parameters["REPORT_CUSTOM_METRICS"] == "true"
    assert view.engine["model"] == "/models/bot/1/weights"
    assert view.locked is not None


def test_python_snippets_are_code_for_this_model(repo: Path) -> None:
    view = repository.show(repo, "bot", http_url="http://gpu:1", grpc_url="gpu:2")
    for protocol in ("grpc", "http"):
        tree = ast.parse(view.clients[protocol])
        texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        assert "bot" in texts
    assert "'gpu:2'" in view.clients["grpc"]
    assert "http://gpu:1/v2/models/bot/generate_stream" in view.clients["curl"]


@pytest.mark.parametrize("fields", [{}, {"max_batch_size": 4}, {
    "model_transaction_policy": {"decoupled": True}
}])  # fmt: skip
@pytest.mark.parametrize("name", ["vision", HOSTILE])
def test_snippets_of_any_model_compile(tmp_path: Path, name: str, fields: dict[str, Any]) -> None:
    name = name.replace("/", "")
    view = repository.show(other(tmp_path, name, **fields), name)
    assert view.kind == "generic"
    for protocol in ("grpc", "http"):
        tree = ast.parse(view.clients[protocol])
        assert ast.get_docstring(tree)
        imported = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert "os" not in imported
    words = shlex.split(view.clients["curl"])
    urls = [word for word in words if word.startswith("http")]
    assert [url.partition("/v2/models/")[2].partition("/")[0] for url in urls] == [quote(name)]


def test_a_batching_model_gets_a_batch_dimension(tmp_path: Path) -> None:
    plain = repository.show(other(tmp_path / "a", "m"), "m").clients["http"]
    batched = repository.show(other(tmp_path / "b", "m", max_batch_size=4), "m").clients["http"]
    assert "'shape': [1, 3]" in plain
    assert "'shape': [1, 1, 3]" in batched
    assert "'o'" not in plain


class _Server(BaseHTTPRequestHandler):
    asked: ClassVar[list[tuple[str, Any]]] = []
    outputs: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, body))
        stream = self.path.endswith("generate_stream")
        outputs = self.outputs or [{"name": "y", "data": [1.0]}]
        answer = {"text_output": " Paris", "outputs": outputs}
        text = json.dumps(answer)
        content = f"data: {text}\n\ndata: {text}\n\n" if stream else text
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[str]:
    _Server.asked.clear()
    with HTTPServer(("127.0.0.1", 0), _Server) as http:
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def run(code: str, *args: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=True
    ).stdout


def test_the_http_snippet_speaks_the_generate_extension(repo: Path, server: str) -> None:
    code = repository.show(repo, "bot", http_url=server).clients["http"]
    assert run(code, "Where", "is", "it?") == " Paris Paris\n"
    assert (
        run(code.partition("if __name__")[0] + "print(generate('q', max_tokens=3))") == " Paris\n"
    )
    (stream, body), (whole, second) = _Server.asked
    assert stream == "/v2/models/bot/generate_stream"
    assert body["text_input"] == "Where is it?"
    assert json.loads(body["sampling_parameters"]) == {"max_tokens": 64, "temperature": 0}
    assert whole == "/v2/models/bot/generate"
    assert second["stream"] is False


def test_the_curl_snippet_speaks_it_too(repo: Path, server: str) -> None:
    code = repository.show(repo, "bot", http_url=server).clients["curl"]
    done = subprocess.run(["bash", "-ec", code], capture_output=True, text=True, check=True)
    assert done.stdout.count(" Paris") == 3
    assert [path for path, _ in _Server.asked] == [
        "/v2/models/bot/generate",
        "/v2/models/bot/generate_stream",
    ]
    for _, body in _Server.asked:
        assert json.loads(body["sampling_parameters"])["max_tokens"] == 64


def test_the_generic_http_snippet_sends_tensors(tmp_path: Path, server: str) -> None:
    view = repository.show(other(tmp_path, "m"), "m", http_url=server)
    assert run(view.clients["http"]) == "{'y': [1.0]}\n"
    path, body = _Server.asked[0]
    assert path == "/v2/models/m/infer"
    assert body["inputs"][0] == {
        "name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1.0, 1.0, 1.0],
    }  # fmt: skip
    assert body["inputs"][1]["data"] == ["text"]


def test_an_embedding_model_is_asked_for_embeddings(tmp_path: Path, server: str) -> None:
    source = make_llama(tmp_path / "llama")
    convert(ModelRecipe(source=str(source), name="emb"), repository=tmp_path / "repo")
    path = tmp_path / "repo/emb/1/model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "runner": "pooling"}))
    view = repository.show(tmp_path / "repo", "emb", http_url=server)
    assert view.kind == "embed"
    for protocol in ("grpc", "http"):
        ast.parse(view.clients[protocol])
    subprocess.run(["bash", "-ec", view.clients["curl"]], capture_output=True, check=True)
    assert json.loads(_Server.asked[0][1]["embedding_request"])["input"]


def test_the_second_model_of_the_openai_contract_has_no_prompt(tmp_path: Path, server: str) -> None:
    (tmp_path / "m_openai").mkdir()
    (tmp_path / "m_openai/config.pbtxt").write_text(
        'backend: "python" input { name: "embedding_request" data_type: TYPE_STRING dims: [1] }'
        'output { name: "text_output" data_type: TYPE_STRING dims: [1] }'
    )
    view = repository.show(tmp_path, "m_openai", http_url=server)
    assert view.kind == "embed" and "text_input" not in "".join(view.clients.values())
    ast.parse(view.clients["grpc"])
    subprocess.run(["bash", "-ec", view.clients["curl"]], capture_output=True, check=True)
    assert list(_Server.asked[0][1]) == ["embedding_request"]


def test_what_cannot_be_shown(repo: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no model 'bod'") as caught:
        repository.show(repo, "bod")
    assert caught.value.fix == "did you mean 'bot'?"
    for name in ("..", ".", "trtbuild.lock", ""):
        with pytest.raises(UsageError):
            repository.show(repo, name)
    (tmp_path / "m").mkdir()
    with pytest.raises(RepositoryError, match="cannot be read"):
        repository.show(tmp_path, "m")
    (tmp_path / "m/config.pbtxt").write_text("name: {")
    with pytest.raises(RepositoryError, match="cannot be read"):
        repository.show(tmp_path, "m")


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ("text", "embeddings token_count"),
        ("query passage", "index logit score token_count"),
        ("text text_pair", "scores label"),
        ("text", "indices values"),
        ("text", "token_embeddings vector_count"),
        ("text text_pair", "score logit"),
        ("text", "entities scores"),
        ("image", "scores label"),
        ("audio", "text language duration segments"),
    ],
)
def test_every_tensor_of_a_task_has_a_meaning(tmp_path: Path, inputs: str, outputs: str) -> None:
    rows = [f'input {{ name: "{name}" data_type: TYPE_STRING }}' for name in inputs.split()]
    rows += [f'output {{ name: "{name}" data_type: TYPE_FP32 }}' for name in outputs.split()]
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.pbtxt").write_text('backend: "python"\n' + "\n".join(rows))
    view = repository.show(tmp_path, "m")
    assert all(tensor.meaning for tensor in (*view.inputs, *view.outputs))
    assert view.kind == "task"
    for protocol in ("grpc", "http"):
        ast.parse(view.clients[protocol])


def test_the_code_of_a_task_sends_a_row_for_each_text(tmp_path: Path, server: str) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/config.pbtxt").write_text(
        'backend: "python" max_batch_size: 4 input { name: "query" data_type: TYPE_STRING }'
        'input { name: "passage" data_type: TYPE_STRING } output { name: "score" }'
    )
    view = repository.show(tmp_path, "m", http_url=server)
    library = view.clients["http"].partition("if __name__")[0]
    answer = {"name": "score", "shape": [2, 1], "data": [0.5, 0.25]}
    _Server.outputs = [answer]
    try:
        said = run(f"{library}print(rerank('q', ['a', 'b'], truncate='END'))")
        assert said == "[{'score': 0.5}, {'score': 0.25}]\n"
        answer |= {"shape": [2, 2, 2], "data": [1, 2, 3, 4, 5, 6, 7, 8]}
        assert "{'score': [[5, 6], [7, 8]]}" in run(f"{library}print(rerank('q', ['a', 'b']))")
    finally:
        _Server.outputs = []
    body = _Server.asked[0][1]
    assert body["parameters"] == {"truncate": "END"} and body["outputs"] == [{"name": "score"}]
    assert [(row["shape"], row["data"]) for row in body["inputs"]] == [
        ([2, 1], ["q", "q"]),
        ([2, 1], ["a", "b"]),
    ]


def test_a_task_without_a_function_gets_general_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as another package's request schema."""
    monkeypatch.setattr("trtbuild.repository.view.tasks", dict)
    (tmp_path / "m").mkdir()
    (tmp_path / "m/config.pbtxt").write_text(
        'backend: "python" input { name: "text" data_type: TYPE_STRING }'
        'output { name: "embeddings" } output { name: "token_count" }'
    )
    view = repository.show(tmp_path, "m")
    assert view.kind == "generic"
    ast.parse(view.clients["http"])
