"""Our model on vLLM's pooling, with a Triton and a vLLM that are not there."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from support.fake_pb_utils import NAME, Tensor, loaded, no_guard
from support.fake_vllm import HANGS, KILLS, REFUSED, FakeEngine, installed
from support.onnx_encoders import SETTINGS
from support.tiny_encoders import make_embedder
from support.waiting import wait_for
from trtbuild.resources import template_dir

OURS = {"pooling_task": "embed", "row": 6, "types": True, "pooling": [], "normalized": False}
CONFIG = {
    "input": [{"name": "text"}, {"name": "text_pair"}, {"name": "query"}, {"name": "passage"}]
}
UNWANTED = (
    "pooling_engine", "pooling_settings", "text_entities", "text_model", "text_rows", "text_tasks",
    "text_template",
)  # fmt: skip


class Sender:
    """Keeps what it is given; its client may leave."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.left = False

    def send(self, response: Any, flags: int) -> None:
        assert flags == 1
        self.sent.append(response)

    def is_cancelled(self) -> bool:
        return self.left

    def answer(self) -> Any:
        wait_for(lambda: self.sent)
        (one,) = self.sent
        return one


class Request:
    """Columns of texts."""

    def __init__(self, asked: dict[str, Any], **columns: list[str]) -> None:
        self.arrays = {
            name: np.array([[text.encode()] for text in texts], dtype=np.object_)
            for name, texts in columns.items()
        }
        self.sender = Sender()
        self._asked = asked

    def get_response_sender(self) -> Sender:
        return self.sender

    def parameters(self) -> str:
        return json.dumps(self._asked)

    def requested_output_names(self) -> list[str]:
        return ["embeddings", "scores", "label", "token_count", "index", "logit", "score"]


Start = Callable[..., Any]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the model with settings and engine arguments; ends it."""
    version = make_embedder(tmp_path / "m")
    files = {
        path.name: path
        for part in ("vllm_pooling", "text")
        for path in template_dir(part, "model").glob("*.py")
    }
    files["pooling_settings.py"] = template_dir("backends", "vllm", "backend_settings.py")
    for name, path in files.items():
        (version / name).write_bytes(path.read_bytes())
    made: list[Any] = []
    with ExitStack() as stack:

        def begin(
            settings: dict[str, Any] | None = None,
            vllm: dict[str, Any] | None = None,
            **arguments: Any,
        ) -> Any:
            (version / "settings.json").write_text(
                json.dumps({**SETTINGS, **OURS, **(settings or {})})
            )
            (version / "model.json").write_text(json.dumps({"model": "some/model", **arguments}))
            stack.enter_context(installed(**(vllm or {})))
            guard = SimpleNamespace(
                Guard=lambda: SimpleNamespace(noting=no_guard().Guard().noting, close=lambda: None)
            )
            sys.modules["pooling_guard"] = guard  # type: ignore[assignment]
            module = stack.enter_context(loaded(version / "model.py", version, labels=True))
            fake = sys.modules[NAME]
            fake.get_input_tensor_by_name = lambda request, name: (  # type: ignore[attr-defined]
                Tensor(name, request.arrays[name]) if name in request.arrays else None
            )
            model = module.TritonPythonModel()
            model.initialize({"model_config": json.dumps(CONFIG), "model_name": "m"})
            made.append(model)
            return model

        yield begin
        for model in made:
            model.finalize()
    for name in (*UNWANTED, "pooling_guard"):
        sys.modules.pop(name, None)


def ask(model: Any, asked: dict[str, Any] | None = None, **columns: list[str]) -> Any:
    request = Request(asked or {}, **columns)
    model.execute([request])
    return request.sender.answer()


def test_each_text_is_one_request_of_the_engine(start: Start) -> None:
    model = start()
    outputs = ask(model, text=["ab", "abcd", "A"]).outputs
    assert outputs["token_count"].tolist() == [[4], [6], [3]]
    assert outputs["embeddings"][:, 0].tolist() == [4, 6, 3]
    assert FakeEngine.made is not None
    _, *asked = FakeEngine.made.asked  # the first is the model's own
    assert [len(ids) for ids, _ in asked] == [4, 6, 3]
    assert {str(params.values) for _, params in asked} == {"{'use_activation': False}"}
    assert model.is_ready()


def test_older_releases_have_another_switch(start: Start) -> None:
    start(vllm={"switch": "normalize"})
    assert FakeEngine.made is not None
    assert FakeEngine.made.asked[0][1].values == {"normalize": False}


def test_the_head_decides_about_length(start: Start) -> None:
    outputs = ask(start({"normalized": True}), text=["ab"]).outputs
    assert outputs["embeddings"].tolist() == [[1, 0, 0, 0, 0, 0]]


def test_poolings_that_vllm_has_not_are_computed_here(start: Start) -> None:
    changes = {"pooling_task": "token_embed", "pooling": ["max", "cls"], "row": 12, "dimension": 12}
    model = start({**changes, "include_prompt": False})
    row = ask(model, {"input_type": "query"}, text=["~"]).outputs["embeddings"][0]
    assert FakeEngine.made is not None
    ids = FakeEngine.made.asked[-1][0]
    # "query: " with [CLS] in front is left out: the text and [SEP] count.
    assert (row[0], row[6]) == (max(ids[-2:]), ids[-2])


def test_a_pairs_second_text_is_marked(start: Start) -> None:
    changes = {"head": "labels", "pooling_task": "classify", "row": 6, "labels": list("abcdef")}
    model = start({**changes, "activation": "softmax"})
    answer = ask(model, {"raw_scores": True}, text=["ab"], text_pair=["c"]).outputs
    assert answer["label"].tolist() == [[b"a"]]
    assert answer["scores"][0].tolist() == [6, 0, 0, 0, 0, 0]
    assert FakeEngine.made is not None
    assert FakeEngine.made.asked[-1][1].extra_kwargs == {"compressed_token_type_ids": 4}


@pytest.mark.parametrize(
    ("asked", "columns", "message"),
    [
        ({"truncate": "NONE"}, {"text": ["a" * 90]}, "text 0 has 92 tokens"),
        ({"dimensions": 5}, {"text": ["a"]}, "dimensions 5 is not supported: send one of 2, 4"),
        ({}, {"text": []}, "the request has no text"),
        ({}, {"text": ["a", "~"]}, f"Token id {REFUSED} is out of vocabulary"),
    ],
)
def test_a_wrong_request_is_refused_alone(
    start: Start, asked: dict[str, Any], columns: dict[str, list[str]], message: str
) -> None:
    model = start()
    if "~" in columns["text"]:  # whatever the tokenizer says of it, vLLM refuses
        _refuse_tilde(model)
    answer = ask(model, asked, **columns)
    assert answer.error.code == "INVALID_ARG"
    assert message in answer.error.message
    assert ask(model, text=["a"]).error is None


def _refuse_tilde(model: Any) -> None:
    whole = model.texts.encode

    def encode(items: list[str], *more: Any) -> Any:
        found = whole(items, *more)
        for text, one in zip(items, found, strict=True):
            one.ids = [REFUSED] if text == "~" else one.ids
        return found

    model.texts.encode = encode


def _token(model: Any, number: int) -> None:
    model.texts.encode = lambda items, *_: [
        SimpleNamespace(ids=[number], type_ids=[0], skip=0, kept=None) for _ in items
    ]


def test_a_client_that_leaves_frees_the_engine(start: Start) -> None:
    model = start()
    _token(model, HANGS)
    request = Request({}, text=["a", "b"])
    model.execute([request])
    request.sender.left = True
    assert request.sender.answer().error.code == "CANCELLED"
    assert FakeEngine.made is not None
    aborted = FakeEngine.made.aborted
    wait_for(lambda: len(aborted) == 2)


def test_a_dead_engine_is_told_and_not_waited_for(start: Start) -> None:
    model = start()
    _token(model, HANGS)
    waiting = Request({}, text=["a"])
    model.execute([waiting])
    _token(model, KILLS)
    assert ask(model, text=["a"]).error.code == "UNAVAILABLE"
    assert waiting.sender.answer().error.code == "UNAVAILABLE"
    assert ask(model, text=["a"]).error.code == "UNAVAILABLE"
    assert not model.is_ready()


def test_unloading_answers_what_is_in_flight(start: Start) -> None:
    model = start()
    _token(model, HANGS)
    request = Request({}, text=["a"])
    model.execute([request])
    time.sleep(0.05)
    model.finalize()
    assert request.sender.answer().error.code == "UNAVAILABLE"
    assert FakeEngine.made is not None
    assert FakeEngine.made.ended


@pytest.mark.parametrize(
    ("settings", "arguments", "message"),
    [
        ({"row": 7}, {}, "computes 6 numbers for a text, and the checkpoint's head 7"),
        ({"pooling_task": "token_classify"}, {}, "does not serve this checkpoint for 'token_cla"),
        ({}, {"runer": "pooling"}, "no engine argument 'runer' \\(did you mean 'runner'"),
        ({}, {"model": "broken"}, "ValueError: no such weights"),
        ({}, {"model": "/models/m/1/none"}, "no weights at /models/m/1/none"),
    ],
)
def test_a_start_that_fails_says_why(
    start: Start, settings: dict[str, Any], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(Exception, match=message) as caught:
        start(settings, **arguments)
    assert type(caught.value).__name__ == "TritonModelException"
