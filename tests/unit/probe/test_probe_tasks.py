"""The live check asks a model of another task than generation one request of that task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trtbuild.client import LLMClient
from trtbuild.errors import ServerError
from trtbuild.probe import checking, tensors
from trtbuild.probe.target import ProbedModel
from trtbuild.signature.requests import EmbedRequest, TaskRequest

CONFIG = """
backend: "python"
input { name: "text" data_type: TYPE_STRING dims: [1] }
output { name: "embeddings" data_type: TYPE_FP32 dims: [3] }
"""


@pytest.mark.parametrize("refusal", ["", "no such text"])
def test_an_embedding_model_is_asked_for_a_vector(
    refusal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.pbtxt").write_text(CONFIG)
    handle: Any = type("Handle", (), {"grpc_url": "127.0.0.1:1"})
    target = ProbedModel("m", tmp_path, handle)
    asked: list[TaskRequest] = []

    def ask(_self: object, _model: str, request: TaskRequest, **_: object) -> None:
        asked.append(request)
        if refusal:
            raise ServerError(refusal)

    monkeypatch.setattr(LLMClient, "describe", lambda *_: None)
    monkeypatch.setattr(LLMClient, "served", lambda *_: target.served)
    monkeypatch.setattr(LLMClient, "ask", ask)
    monkeypatch.setattr(tensors, "compare", lambda *_: ())
    found = list(checking._model(target, alone=False))
    assert asked == [EmbedRequest(("Hello",))]
    assert [one.rule for one in found] == (["TRT953"] if refusal else [])
    assert all(refusal in one.message for one in found)
