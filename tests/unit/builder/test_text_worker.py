"""How an export that fails is reported: what happened, where, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trtbuild.builder import Workplace
from trtbuild.errors import BuildError
from trtbuild_builders.text import worker

GIVEN = "onnx/model.onnx"


def failed(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    status: int,
    *lines: str,
    given: str = "",
    first: str = "",
) -> BuildError:
    monkeypatch.setattr(worker, "run_worker", lambda *_, **__: (status, lines))
    place = Workplace("key", tmp_path / "key", tmp_path, "acme/model", ())
    with pytest.raises(BuildError) as caught:
        worker.work(
            place, {}, "onnx", "export", "worker.py",
            served="the graph", doing="the export to ONNX", given=given, first=first,
        )  # fmt: skip
    assert caught.value.where == str(place.log)
    assert caught.value.fix
    assert caught.value.exit_code == 5
    return caught.value


def test_a_difference_is_shown_and_nothing_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    worst = "'a' alone: off by 0.4, cosine 0.8"
    error = failed(monkeypatch, tmp_path, 3, "warning: x", f"ERROR: {worst}")
    assert "the graph of acme/model does not answer as the reference does" in str(error)
    assert error.details == (worst,)
    assert "report it with the checkpoint's name" in error.fix
    quantized = failed(monkeypatch, tmp_path, 3, f"ERROR: {worst}", first="try fp16; ")
    assert quantized.fix.startswith("try fp16; report it")


@pytest.mark.parametrize(
    ("lines", "given", "message", "detail"),
    [
        (
            ("ERROR: the graph has opset 27, and ONNX Runtime 1.23.2 reads up to 23",), GIVEN,
            f"{GIVEN} of acme/model cannot be served", "opset 27",
        ),
        (
            ("Traceback (most recent call last):", "  File x", "KeyError: 'layers'"), "",
            "the export to ONNX failed with exit code 1", "KeyError: 'layers'",
        ),
    ],
)  # fmt: skip
def test_a_failure_names_its_cause(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    lines: tuple[str, ...],
    given: str,
    message: str,
    detail: str,
) -> None:
    error: Any = failed(monkeypatch, tmp_path, 1, *lines, given=given)
    assert message in str(error)
    assert detail in error.details[0]


@pytest.mark.parametrize("status", [-9, 137])
def test_the_end_of_memory_is_recognized(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int
) -> None:
    assert "memory runs out" in str(failed(monkeypatch, tmp_path, status))
