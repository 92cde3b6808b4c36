"""Both model.py files of an ONNX repository: the public one calls the graph's. No server."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from support.fake_pb_utils import NAME, Tensor, call_with, loaded
from support.onnx_encoders import SETTINGS, write_graph
from support.tiny_encoders import make_embedder
from trtbuild.resources import template_dir

CONFIG = {"input": [{"name": "text"}], "output": []}
CORE = {
    "input": [{"name": "input_ids"}, {"name": "attention_mask"}],
    "output": [{"name": "embeddings"}], "max_batch_size": 8,
}  # fmt: skip


class Request:
    """What Triton hands over: texts and parameters."""

    def __init__(self, arrays: dict[str, Any], outputs: tuple[str, ...], **asked: Any) -> None:
        self.arrays, self._outputs, self._asked = arrays, outputs, asked

    def parameters(self) -> str:
        return json.dumps(self._asked)

    def requested_output_names(self) -> tuple[str, ...]:
        return self._outputs


def texts(*values: bytes, **asked: Any) -> Request:
    rows = np.array([[value] for value in values], dtype=np.object_)
    return Request({"text": rows}, ("embeddings", "token_count"), **asked)


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Any]:
    """The public model, with its graph behind it."""
    version = make_embedder(tmp_path / "m")
    write_graph(version, "model.onnx")
    (version / "settings.json").write_text(json.dumps(SETTINGS))
    for parts in (("onnx", "model"), ("onnx", "texts"), ("text", "model")):
        for path in template_dir(*parts).glob("*.py"):
            (version / path.name).write_bytes(path.read_bytes())
    folder = template_dir("backends", "onnxruntime")
    (tmp_path / "core" / "1").mkdir(parents=True)
    (tmp_path / "core/1/model.onnx").write_bytes((version / "model.onnx").read_bytes())
    with ExitStack() as stack:
        backend = stack.enter_context(loaded(folder / "model.py", labels=True))
        give(sys.modules[NAME])
        core = backend.TritonPythonModel()
        place = {"model_repository": str(tmp_path / "core"), "model_version": "1"}
        core.initialize({"model_config": json.dumps(CORE), **place})
        public = stack.enter_context(loaded(version / "model.py", version, labels=True))
        give(sys.modules[NAME])

        def run(name: str, arrays: dict[str, Any]) -> Any:
            assert name == SETTINGS["core"]
            (answer,) = core.execute([Request(arrays, ("embeddings",))])
            return answer.error.message if answer.error else answer.outputs

        sys.modules[NAME].InferenceRequest = call_with(run)  # type: ignore[attr-defined]
        made = public.TritonPythonModel()
        made.initialize({"model_config": json.dumps(CONFIG)})
        yield made
    for name in ("onnx_core", "text_model", "text_rows", "text_tasks"):
        sys.modules.pop(name, None)


def give(fake: Any) -> None:
    """What the two models use besides of Triton's module."""

    def tensor(request: Request, name: str) -> Tensor | None:
        return Tensor(name, request.arrays[name]) if name in request.arrays else None

    fake.get_input_tensor_by_name = tensor
    fake.get_output_tensor_by_name = lambda answer, name: Tensor(name, answer.outputs[name])
    fake.PreferredMemory = lambda *place: SimpleNamespace(place=place)
    fake.TRITONSERVER_MEMORY_CPU = 0


def test_requests_are_computed_together_and_answered_apart(model: Any) -> None:
    alone = [model.execute([texts(value)])[0].outputs for value in (b"a", b"longer text here", b"")]
    both = model.execute([texts(b"a", b""), texts(b"longer text here", truncate="START")])
    assert both[0].outputs["embeddings"].shape == (2, 6)
    found = np.concatenate([answer.outputs["embeddings"] for answer in both])
    wanted = np.concatenate([alone[at]["embeddings"] for at in (0, 2, 1)])
    assert np.abs(found - wanted).max() < 1e-6
    assert both[0].outputs["token_count"].tolist() == [[3], [2]]


def test_a_wrong_request_leaves_the_others_alone(model: Any) -> None:
    answers = model.execute(
        [
            texts(b"a"),
            texts(b"b", input_type="image"),
            texts(b"\xff"),
            texts(b"z" * 90, truncate="NONE"),
        ]
    )
    assert answers[0].error is None
    assert answers[0].outputs["embeddings"].shape == (1, 6)
    messages = [answer.error.message for answer in answers[1:]]
    assert messages[0].startswith("unknown input_type 'image'")
    assert messages[1] == "text is not UTF-8 text"
    assert messages[2].startswith("text 0 has 92 tokens and the model takes 40")
    assert {answer.error.code for answer in answers[1:]} == {"INVALID_ARG"}


def test_a_failure_of_the_graph_is_told(model: Any) -> None:
    # beyond the graph's 64 places
    model.settings["max_tokens"] = 4096
    (answer,) = model.execute([texts(b"z" * 90)])
    assert answer.error.message.startswith("m_core: onnx runtime: ")
