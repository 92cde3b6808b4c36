"""Real logs explained: models that fail in different ways, on one real server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.live_models import write_as
from support.waiting import wait_for
from trtbuild import process, server
from trtbuild.check import Example
from trtbuild.explain import Explanation, Reason, explain
from trtbuild.server import LaunchOptions, Ports

BROKEN = {
    "syntax": Example(files={"m/1/model.py": "class TritonPythonModel:\n  def x(\n"}),
    "no_class": Example(files={"m/1/model.py": "class Model: ...\n"}),
    "no_module": Example(files={"m/1/model.py": "import no_such_module_x\n"}),
    "no_backend": Example('backend: "nothing"'),
    "no_version": Example("version_policy { specific { versions: [ 7 ] } }"),
    "no_config": Example('name: "m"\nbackend: ${backend}'),
    "raises": Example(
        files={
            "m/1/model.py": "class TritonPythonModel:\n    def initialize(self, args):\n"
            "        raise OSError(\"Can't load tokenizer for '/home/me/llama'\")\n"
        }
    ),
}
MORE = """\
name: "over"
platform: "ensemble"
input [ { name: "IN" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 1 ] } ]
ensemble_scheduling { step [ { model_name: "no_module" model_version: -1
  input_map { key: "IN" value: "IN" } output_map { key: "OUT" value: "OUT" } } ] }
"""


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("broken") / "repository"
    folder.mkdir()
    for name, example in BROKEN.items():
        write_as(folder, name, example)
    (folder / "stray").mkdir()
    (folder / "over" / "1").mkdir(parents=True)
    (folder / "over" / "config.pbtxt").write_text(MORE)
    return folder


@pytest.fixture(scope="module")
def log(repo: Path) -> Iterator[list[str]]:
    """What the server wrote, from its start to its refusal."""
    ports = Ports(*process.free_ports(3, "127.0.0.1"))
    # the launcher would refuse the backend that is not there; the server shall say it
    contents = replace(server.read_contents(repo), backends=frozenset({"python"}))
    found = server.launch(contents, "embedded", LaunchOptions(ports=ports))
    try:
        wait_for(lambda: found.health == "dead")
        yield Path(found.log_path).read_text(errors="replace").splitlines()
    finally:
        with contextlib.suppress(Exception):
            server.stop(found, deadline=3)


@pytest.fixture(scope="module")
def explained(log: list[str], repo: Path) -> Explanation:
    return explain(log, repo)


def reason(explained: Explanation, model: str) -> Reason:
    found = [one for one in explained.reasons if one.model == model]
    assert len(found) == 1, explained.reasons
    return found[0]


@pytest.mark.parametrize(
    ("model", "cause", "rule", "place"),
    [
        ("syntax", "python-syntax", "TRT601", "syntax/1/model.py:2:8"),
        ("no_class", "python-no-class", "TRT602", "no_class/1/model.py"),
        ("no_module", "python-module-missing", "", "no_module/config.pbtxt"),
        ("raises", "tokenizer-missing", "TRT761", "raises/config.pbtxt"),
        ("no_backend", "backend-missing", "TRT351", "no_backend/config.pbtxt:1:10"),
        ("no_version", "no-version", "TRT204", "no_version/config.pbtxt:1:41"),
        ("no_config", "placeholder", "TRT104", "no_config/config.pbtxt:2:10"),
        ("stray", "no-config", "TRT201", "stray"),
    ],
)
def test_a_model_that_does_not_load(
    explained: Explanation, model: str, cause: str, rule: str, place: str
) -> None:
    found = reason(explained, model)
    assert (found.cause, found.rule, found.place) == (cause, rule, place)
    assert found.fix
    assert " At: " not in found.message


def test_only_the_causes_are_reasons(explained: Explanation) -> None:
    assert {one.model for one in explained.reasons} == {*BROKEN, "stray"}
    follows = {one.cause for one in explained.follows}
    assert {"member-failed", "server-gave-up", "config-unreadable"} <= follows
