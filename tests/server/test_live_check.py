"""The live check against a real server: what it finds, and what it finds nothing wrong with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from support import triton
from support.checkpoints import TINY, make_tiny
from support.live_models import write_as, write_llm
from support.repositories import MODEL
from support.waiting import wait_for
from trtbuild import lockfile, server
from trtbuild.check import Example, Finding, Severity
from trtbuild.pipeline.live import live_check

ECHO = """\
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        zeros = np.zeros((1, 1), np.float32)
        answer = pb_utils.InferenceResponse([pb_utils.Tensor("OUT", zeros)])
        return [answer for _ in requests]
"""


CALLER = ECHO.replace(
    "answer = pb_utils",
    """part = pb_utils.InferenceRequest(
            model_name="caller_part",
            requested_output_names=["OUT"],
            inputs=[pb_utils.Tensor("IN", np.zeros((1, 1), np.float32))],
        )
        assert not part.exec().has_error(), part.exec().error()
        answer = pb_utils""",
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Finding]:
    """One server for all of it; the last LLM dies."""
    repo = tmp_path_factory.mktemp("live") / "repository"
    repo.mkdir()
    write_as(repo, "sound", Example(files={"m/1/model.py": ECHO}))
    write_as(repo, "raises", Example(files={"m/1/model.py": ECHO + "\n\nraise OSError('gone')\n"}))
    refusing = ECHO.replace(
        "answer = pb_utils", "raise ValueError('no zeros')\n        answer = pb_utils"
    )
    write_as(repo, "fails", Example(files={"m/1/model.py": refusing}))
    write_as(repo, "onnx", Example(base="onnx"))
    write_as(repo, "caller", Example(files={"m/1/model.py": CALLER}))
    write_as(repo, "caller_part", Example(files={"m/1/model.py": ECHO}))
    written = replace(MODEL, directories=("caller", "caller_part"))
    lockfile.write(repo, lockfile.Lock({"caller": written}))
    write_llm(repo, "turns", together=False)
    write_llm(repo, "writer", kind="KIND_GPU")
    return list(live_check(repo))


def of(found: list[Finding], model: str) -> dict[str, Finding]:
    return {one.rule: one for one in found if one.model == model}


def test_a_sound_model_has_nothing(found: list[Finding]) -> None:
    assert of(found, "sound") == {}


def test_a_part_is_loaded_before_the_model_that_calls_it(found: list[Finding]) -> None:
    for name in ("caller", "caller_part"):
        assert not {"TRT951", "TRT953"} & of(found, name).keys()


def test_a_model_that_raises_does_not_load(found: list[Finding]) -> None:
    one = of(found, "raises")["TRT951"]
    assert "OSError: gone" in one.server_message
    assert one.severity is Severity.ERROR


def test_a_model_that_does_not_answer(found: list[Finding]) -> None:
    one = of(found, "fails")["TRT953"]
    assert one.severity is Severity.WARNING
    assert "ValueError: no zeros" in one.server_message


def test_a_graph_runs_on_the_cpu(found: list[Finding]) -> None:
    assert list(of(found, "onnx")) == ["TRT950"]
    assert "the onnxruntime package on the CPU stood in" in of(found, "onnx")["TRT950"].message


def test_requests_in_turn_are_told(found: list[Finding]) -> None:
    assert list(of(found, "turns")) == ["TRT956"]


def test_a_model_of_a_gpu_runs_on_the_cpu_and_its_death_is_noticed(found: list[Finding]) -> None:
    rules = of(found, "writer")
    assert "it asks for a GPU, and ran on the CPU" in rules.pop("TRT950").message
    # the server goes on saying ready over a stub that was killed
    assert rules.keys() <= {"TRT957"}
    assert all(one.severity is not Severity.ERROR for one in rules.values())


def test_nothing_is_left(found: list[Finding]) -> None:
    wait_for(lambda: not [one for one in server.servers() if "/live" in one.repo])


def test_a_real_engine_answers_batches_stops_and_dies(tmp_path: Path) -> None:
    repo = tmp_path / "live" / "repository"
    triton.write_model(repo, "tiny", make_tiny(tmp_path / "weights"), TINY)
    told = live_check(repo)
    # the backend unloads a model whose engine died, so not even readiness lies
    assert [one for one in told if one.rule != "TRT957"] == []
    assert all(one.severity is Severity.INFO for one in told)
