"""The live check leaves a long answer: what counts is whether the engine makes the rest of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trtbuild.client import Chunk
from trtbuild.probe import asking
from trtbuild.probe.target import ProbedModel


class Engine:
    """Answers with 100 tokens; makes ``after[n]`` more once the client left the n-th request."""

    def __init__(self, *after: int) -> None:
        self.after = list(after)
        self.made = 0.0

    def generate(self, *_: object, **__: object) -> Iterator[Chunk]:
        try:
            for _ in range(100):
                self.made += 1
                yield Chunk("a", output_tokens=1)
        except GeneratorExit:
            self.made += self.after.pop(0)


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProbedModel:
    handle: Any = type("Handle", (), {"metrics_url": "127.0.0.1:1"})
    return ProbedModel("m", tmp_path, handle)


def problem(engine: Any, target: ProbedModel, monkeypatch: pytest.MonkeyPatch) -> str:
    counters = {"vllm:generation_tokens": 0.0, "vllm:num_requests_running": 0.0}

    def at_rest(_: ProbedModel) -> dict[str, float]:
        return counters | {"vllm:generation_tokens": engine.made}

    monkeypatch.setattr(asking, "_at_rest", at_rest)
    return asking._cancelled(engine, target)


@pytest.mark.parametrize("after", [0, 39, 95])
def test_an_engine_that_stops_late_does_stop(
    after: int, target: ProbedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert problem(Engine(after), target, monkeypatch) == ""


def test_an_engine_that_ended_first_is_asked_again(
    target: ProbedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert problem(Engine(96, 96, 90), target, monkeypatch) == ""


def test_an_engine_that_always_makes_the_rest_is_reported(
    target: ProbedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = problem(Engine(96, 96, 96), target, monkeypatch)
    assert said == "its client left after 4 tokens, and the engine still generated all 100"
