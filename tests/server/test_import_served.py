"""Imported archives on the real server: the handler's answers, errors and batches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.archives import answers, ask, function_archive, graph_archive, write_archive
from support.command_line import trtbuild
from support.served import serving

_ROWS = "batchSize: 4\nmaxBatchDelay: 1\nhandler: {unit: kg}\n"
# Long enough for the last request of a batch, however late it is sent.
_BATCHES = _ROWS.replace("Delay: 1", "Delay: 300000")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a handler that is a function, one that collects requests, and one with a graph
    between its steps."""
    work = tmp_path_factory.mktemp("imported")
    made = {
        "echo": function_archive(_ROWS),
        "batches": function_archive(_BATCHES),
        "double": graph_archive(),
    }
    for name, files in made.items():
        archive = write_archive(work / f"{name}.mar", files)
        done = trtbuild("import", archive, "--name", name, "--repo", work / "repository")
        assert done.returncode == 0, done.stderr
    models = [*made, "double_graph"]
    with serving(work / "repository", models, work / "state") as server:
        yield f"http://127.0.0.1:{server.http_port}/v2/models"


def test_bodies_are_what_torchserve_gives_a_handler(url: str) -> None:
    assert answers(ask(url, "echo", "abc")) == ["cba"]  # bytes
    assert answers(ask(url, "echo", "abc", "d", kind="text/plain")) == ["ABC", "D"]
    (found,) = answers(ask(url, "echo", "[1, 2]", kind="application/json"))
    assert json.loads(found) == {
        "sum": 3, "kind": "application/json", "batch": 1, "loaded": 1, "unit": "kg",
    }  # fmt: skip
    assert answers(ask(url, "echo", "{", kind="application/json")) == ["{"]


def test_requests_are_collected_into_a_batch(url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, url, "batches", "[1]", kind="application/json") for _ in range(4)]
        sizes = [json.loads(answers(one.result())[0])["batch"] for one in asked]
    assert sizes == [4] * 4


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("refuse", 404, "this is refused"),
        ("status", 400, "bad row"),
        ("break", 500, "KeyError"),
        ("few", 503, "number of batch response mismatched"),
    ],
)
def test_errors_of_a_handler_are_errors_of_the_server(
    url: str, body: str, status: int, said: str
) -> None:
    response = ask(url, "echo", body, kind="text/plain")
    assert said in response.json()["error"]
    assert response.status_code == status
    assert answers(ask(url, "echo", "fine", kind="text/plain")) == ["FINE"]


def test_a_graph_answers_between_the_steps_of_its_handler(url: str) -> None:
    body = json.dumps({"numbers": [1.5, -2]})
    (found,) = answers(ask(url, "double", body, kind="application/json"))
    assert json.loads(found) == {"left": 3.0, "right": -4.0}
    wrong = ask(url, "double", '{"numbers": [1, 2, 3]}', kind="application/json")
    assert wrong.status_code == 500
    assert "double_graph" in wrong.json()["error"]
