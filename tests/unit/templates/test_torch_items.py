"""Requests with images and recordings through our model.py, with transformers replaced."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from support.fake_pb_utils import NAME, Tensor, loaded
from support.pictures import file_of, halves, text_of
from trtbuild.resources import template_dir

LABELS = {"weights": "weights", "items": 2, "labels": ["red", "green"], "activation": "softmax"}
SOUND = {"weights": "weights", "items": 2, "limits": {"seconds": 60, "file_bytes": 1 << 20}}
OURS = ("torch", "transformers", "torch_place", "item_model", "image_rows", "torch_images",
        "torch_speech", "torch_sound", "text_model", "text_rows", "text_tasks", "text_entities",
        "text_template", "request_images")  # fmt: skip
RED, GREEN = (text_of(file_of(halves((4, 4)).crop(box))) for box in ((0, 0, 2, 4), (2, 0, 4, 4)))
STRIP = text_of(file_of(halves((8192, 1))))


class Request:
    """What Triton hands over: arrays and parameters."""

    def __init__(self, arrays: dict[str, Any], *outputs: str, **asked: Any) -> None:
        self.arrays, self._outputs, self._asked = arrays, outputs, asked

    def parameters(self) -> str:
        return json.dumps(self._asked)

    def requested_output_names(self) -> tuple[str, ...]:
        return self._outputs


def images(*values: str, **asked: Any) -> Request:
    rows = np.array([[value.encode()] for value in values], dtype=np.object_)
    return Request({"image": rows}, "scores", "label", **asked)


class Pixels:
    """An image processor that keeps the mean colour."""

    @classmethod
    def from_pretrained(cls, *_: Any, **__: Any) -> Pixels:
        return cls()

    def __call__(self, picture: Any, **_: Any) -> dict[str, Any]:
        return {"pixel_values": np.asarray(picture, dtype=np.float32).mean(axis=(0, 1))[None]}


class Colours:
    """A classifier whose logits are red and green; it counts its batches."""

    sizes: list[int] = []  # noqa: RUF012 - emptied by the fixture

    @classmethod
    def from_pretrained(cls, *_: Any, **__: Any) -> Colours:
        return cls()

    def __call__(self, pixel_values: Any) -> Any:
        self.sizes.append(len(pixel_values))
        rows = pixel_values[:, :2] / 255
        return SimpleNamespace(logits=SimpleNamespace(to=lambda *_: Numbers(rows)))


class Numbers:
    def __init__(self, rows: Any) -> None:
        self._rows = rows

    def numpy(self) -> Any:
        return self._rows


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Starts a model of a kind; what it imports of PyTorch and transformers is ours."""
    monkeypatch.setattr(Colours, "sizes", [])
    for name in OURS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    fakes: dict[str, dict[str, Any]] = {
        "torch": {"inference_mode": lambda: lambda run: run, "float32": "float32"},
        "transformers": {
            "AutoImageProcessor": Pixels, "AutoModelForImageClassification": Colours,
        },
        "torch_place": {
            "place_of": lambda *_: SimpleNamespace(put=lambda one: one, tensor=lambda one: one),
            "loading": lambda _: {},
            "groups": lambda items, size: [
                items[at : at + size] for at in range(0, len(items), size)
            ],
        },
    }  # fmt: skip
    for name, members in fakes.items():
        module = ModuleType(name)
        module.__dict__.update(members)
        monkeypatch.setitem(sys.modules, name, module)
    opened = []

    def start(kind: str, settings: dict[str, Any], *inputs: str) -> Any:
        version = tmp_path / "1"
        version.mkdir()
        for parts in (("torch", kind), ("torch", "model"), ("text", "model"), ("shared",)):
            for path in template_dir(*parts).glob("*.py"):
                if path.name != "torch_place.py":
                    (version / path.name).write_bytes(path.read_bytes())
        (version / "settings.json").write_text(json.dumps(settings))
        context = loaded(version / "model.py", version, labels=True)
        module = context.__enter__()
        opened.append(context)
        sys.modules[NAME].get_input_tensor_by_name = (  # type: ignore[attr-defined]
            lambda request, name: (
                Tensor(name, request.arrays[name]) if name in request.arrays else None
            )
        )
        return module, json.dumps({"input": [{"name": name} for name in inputs]})

    yield start
    for context in opened:
        context.__exit__(None, None, None)
    for name in OURS:
        sys.modules.pop(name, None)


def test_images_of_all_requests_are_computed_together(serve: Any) -> None:
    module, config = serve("images", LABELS, "image")
    model = module.TritonPythonModel()
    model.initialize({"model_config": config})
    answers = model.execute(
        [
            images(RED),
            images("no base64!"),
            images(GREEN, RED, raw_scores=True),
            images(RED, raw_scores=1),
            images(),
            images(STRIP),
        ]
    )
    assert Colours.sizes == [2, 1]
    assert answers[0].outputs["label"].tolist() == [[b"red"]]
    assert answers[2].outputs["label"].tolist() == [[b"green"], [b"red"]]
    assert answers[2].outputs["scores"].tolist() == [[0, 1], [1, 0]]
    said = [answers[at].error.message for at in (1, 3, 4, 5)]
    assert "not valid base64" in said[0]
    assert said[1] == "raw_scores 1 is not true or false"
    assert said[2] == "the request has no image: send at least one"
    assert "8192 x 1 pixels; its longer edge may be 100 times the shorter one: crop it" in said[3]
    assert {answers[at].error.code for at in (1, 3, 4, 5)} == {"INVALID_ARG"}


def test_a_failure_of_the_module_is_told_to_all(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, config = serve("images", LABELS, "image")
    model = module.TritonPythonModel()
    model.initialize({"model_config": config})

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(Colours, "__call__", fail)
    found = model.execute([images(RED), images(GREEN)])
    assert [one.error.message for one in found] == ["CUDA out of memory"] * 2
    assert found[0].error.code == "INTERNAL"


class Speech:
    """Writes down how loud a recording is, and how it was asked."""

    def wanted(self, asked: dict[str, Any]) -> str:
        return str(asked.get("language", ""))

    def run(self, items: Any) -> list[tuple[str, str, str, int]]:
        return [(f"{samples.max():.1f}", wanted, "[]", 3) for samples, wanted in items]


def test_recordings_come_as_files_or_as_samples(serve: Any) -> None:
    module, config = serve("recordings", SOUND, "audio", "samples")
    module.Speech = lambda *_: Speech()
    model = module.TritonPythonModel()
    model.initialize({"model_config": config})
    quiet, loud = np.full((1, 16_000), 0.1, np.float32), np.full((2, 8_000), 0.5, np.float32)
    names = ("text", "language", "duration", "token_count")
    file = np.array([[b"no base64!"]], dtype=np.object_)
    answers = model.execute(
        [
            Request({"samples": quiet}, *names, language="de"),
            Request({"samples": loud}, *names),
            Request({"audio": file}, *names),
            Request({"audio": file, "samples": quiet}, *names),
            Request({}, *names),
        ]
    )
    assert answers[0].outputs["text"].tolist() == [[b"0.1"]]
    assert answers[0].outputs["language"].tolist() == [[b"de"]]
    assert answers[1].outputs["text"].tolist() == [[b"0.5"], [b"0.5"]]
    assert answers[1].outputs["duration"].tolist() == [[0.5], [0.5]]
    said = [answer.error.message for answer in answers[2:]]
    assert "neither a WAV file nor base64" in said[0]
    assert said[1:] == [
        "the request has audio and samples: send one of them",
        "the request has no recording: send audio or samples",
    ]
