"""TorchServe's handlers of images, as the server runs them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import trtbuild_importing


@pytest.fixture
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The modules of ``ts.torch_handler``."""
    utils = "triton_python_backend_utils"  # the server's own, which only a graph uses
    monkeypatch.setitem(sys.modules, utils, ModuleType(utils))
    monkeypatch.syspath_prepend(Path(trtbuild_importing.__file__).parent / "templates/torchserve")
    yield lambda name: importlib.import_module(f"ts.torch_handler.{name}")
    for name in [one for one in sys.modules if one == "ts" or one.startswith("ts.")]:
        del sys.modules[name]


def test_each_pixel_gets_its_likeliest_class(handlers: Any) -> None:
    scores = np.zeros((1, 3, 2, 2), np.float32)
    scores[0, 2, 0, 1] = np.log(4)
    made = handlers("image_segmenter").ImageSegmenter()
    ((first, second),) = made.postprocess({"out": scores})
    assert first == [[0, pytest.approx(1 / 3)], [2, pytest.approx(4 / 6)]]
    assert [pixel[0] for pixel in second] == [0, 0]


def test_objects_are_named_that_the_model_is_sure_of(handlers: Any) -> None:
    from PIL import Image

    made = handlers("object_detector").ObjectDetector()
    made.mapping = {"7": "a cat"}
    row = {
        "boxes": np.array([[0, 1, 2, 3], [4, 5, 6, 7]]),
        "labels": np.array([7, 7]),
        "scores": np.array([0.5, 0.49]),
    }
    assert made.postprocess([row]) == [[{"a cat": [0, 1, 2, 3], "score": 0.5}]]
    assert made.image_processing(Image.new("L", (5, 4), 255)).shape == (1, 4, 5)
    image = made.image_processing(Image.new("RGB", (5, 4), (255, 0, 51)))
    assert image.shape == (3, 4, 5) and image[:, 0, 0].tolist() == [1, 0, pytest.approx(0.2)]
    assert made.image_processing(Image.new("1", (5, 4), 1)).max() == 1
