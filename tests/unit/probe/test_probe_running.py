"""A running server is compared with a repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.command_line import trtbuild
from trtbuild.client import DescribedModel, failures
from trtbuild.errors import ServerError, UsageError
from trtbuild.pipeline.validate import with_address
from trtbuild.probe import compare_running, running
from trtbuild.signature import of_server
from trtbuild.signature.requests import EmbedAnswer
from trtbuild.wire.records import ModelMetadata

CONFIG = """backend: "python" max_batch_size: 4
input { name: "text" data_type: TYPE_STRING dims: [1] }
output { name: "embeddings" data_type: TYPE_FP32 dims: [2] }
"""


class Client:
    """A server with the model ``m``."""

    vector: tuple[float, ...] = (0.6, 0.8)
    error: ServerError | None = None
    names: tuple[str, ...] = ("m",)
    dims = 2
    tried: list[str]

    def __init__(self, url: str, *_: Any) -> None:
        self.url = url

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def models(self) -> list[str]:
        return list(self.names)

    def describe(self, name: str) -> DescribedModel:
        rows = [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}]
        back = [{"name": "embeddings", "datatype": "FP32", "shape": [-1, self.dims]}]
        metadata = ModelMetadata.read({"name": name, "inputs": rows, "outputs": back})
        return DescribedModel(metadata, of_server(metadata, {"max_batch_size": 4}))

    def ask(self, _name: str, _request: object) -> EmbedAnswer:
        if self.error:
            raise self.error
        return EmbedAnswer((self.vector,))

    def try_out(self, name: str, *, timeout: float) -> None:
        assert timeout
        self.tried.append(name)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    made = type("Made", (Client,), {"tried": []})
    monkeypatch.setattr(running, "LLMClient", made)
    return made


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    version = tmp_path / "repo/m/1"
    version.mkdir(parents=True)
    (version / "model.py").write_text("class TritonPythonModel:\n    def execute(self, r): ...\n")
    (version.parent / "config.pbtxt").write_text(CONFIG)
    kept = [{"input_type": "", "item": "a text", "row": [0.6, 0.8]}]
    (version / "reference.json").write_text(json.dumps({"kept": kept}))
    return tmp_path / "repo"


def rules(repo: Path, **more: Any) -> dict[str, str]:
    found = compare_running(repo, ["m"], "h:1", "grpc", **more)
    return {one.rule: one.message for one in found}


def test_equal_answers_and_tensors_have_no_finding(repo: Path, client: type[Client]) -> None:
    assert rules(repo) == {} and client.tried == []


def test_a_model_without_reference_is_asked_once(repo: Path, client: type[Client]) -> None:
    (repo / "m/1/reference.json").unlink()
    assert rules(repo) == {} and client.tried == ["m"]


def test_other_answers_come_with_the_difference(repo: Path, client: type[Client]) -> None:
    client.vector = (0.8, 0.6)
    found = rules(repo)
    assert set(found) == {"TRT959"}
    assert "cosine 0.9600, largest difference 0.2 for 'a text'" in found["TRT959"]


def test_other_tensors_another_model_and_an_error(repo: Path, client: type[Client]) -> None:
    client.dims = 3
    client.error = ServerError("refused: no")
    found = rules(repo)
    assert set(found) == {"TRT952", "TRT953"} and found["TRT953"] == "refused: no"
    client.names = ("other",)
    assert rules(repo) == {"TRT951": "the server at h:1 does not serve 'm': it has other"}


def test_a_server_that_ends_is_no_finding(repo: Path, client: type[Client]) -> None:
    client.error = failures.unreachable("h:1")
    with pytest.raises(ServerError, match="nothing answers at h:1"):
        rules(repo)


def test_the_command_exits_with_6_or_7(
    repo: Path, client: type[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trtbuild("validate", repo, "--live", "h:1").returncode == 0
    client.vector = (0.8, 0.6)
    done = trtbuild("validate", repo, "--live", "http://h:1", "--json")
    (found,) = json.loads(done.stdout)["findings"]
    assert (done.returncode, found["rule"], found["file"]) == (6, "TRT959", "m/1/reference.json")
    monkeypatch.undo()
    done = trtbuild("validate", repo, "--live", "127.0.0.1:9")
    assert done.returncode == 7 and "nothing answers at 127.0.0.1:9" in done.stderr


def test_an_address_is_told_from_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a:1").mkdir()
    assert with_address(["repo", "[::1]:8001"]) == ([Path("repo")], "[::1]:8001")
    assert with_address(["a:1", "grpc://b:1/"]) == ([Path("a:1")], "grpc://b:1/")
    with pytest.raises(UsageError, match="2 addresses: b:1, c:1"):
        with_address(["b:1", "c:1"])
