"""The same archives on a real TorchServe 0.12, and imported on Triton: the answers are the same."""

from __future__ import annotations

import base64
import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from support import triton
from support.archives import (
    answers,
    ask,
    contents,
    function_archive,
    graph_archive,
    write_archive,
)
from support.command_line import trtbuild
from support.served import serving
from support.torchserve import torchserve

pytestmark = pytest.mark.nightly

_NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(x)
"""
_EAGER = """
import torch
from ts.torch_handler.base_handler import BaseHandler

class Rows(BaseHandler):
    def preprocess(self, data):
        return torch.tensor([row.get("data") or row.get("body") for row in data])
"""
_DETECTOR = """
import torch

class Detector(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.boxes = torch.nn.Parameter(torch.arange(12.0).reshape(3, 4))

    def forward(self, images):
        labels = torch.arange(3)
        return [
            {"boxes": self.boxes * image.mean(), "labels": labels, "scores": image.amax(dim=(1, 2))}
            for image in images
        ]
"""
_MAKE = """
import sys, torch
from typing import Dict
from detector import Detector
from net import Net

class Colours(torch.nn.Module):
    def forward(self, x):
        return torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)

class Segments(torch.nn.Module):
    def forward(self, x) -> Dict[str, torch.Tensor]:
        return {"out": torch.cat([x, -x], dim=1)}

torch.manual_seed(0)
torch.save(Net().state_dict(), sys.argv[1] + "/net.pt")
torch.save(Detector().state_dict(), sys.argv[1] + "/detector.pt")
torch.jit.script(Colours()).save(sys.argv[1] + "/colours.pt")
torch.jit.script(Segments()).save(sys.argv[1] + "/segments.pt")
"""
NAMES = ("echo", "double", "eager", "images", "segments", "objects")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six archives: a function, a graph, an eager model, and one for each handler of images."""
    work = tmp_path_factory.mktemp("store")
    (work / "net.py").write_text(_NET)
    (work / "detector.py").write_text(_DETECTOR)
    (work / "make.py").write_text(_MAKE)  # TorchScript reads the source
    command = [triton.runtime_python(), work / "make.py", work]
    subprocess.run(command, check=True, timeout=300)
    eager = contents(
        {"net.py": _NET, "rows.py": _EAGER, "net.pt": (work / "net.pt").read_bytes()},
        {"handler": "rows", "serializedFile": "net.pt", "modelFile": "net.py"},
    )
    labels = json.dumps({str(at): f"class {at}" for at in range(6)})
    images = contents(
        {"colours.pt": (work / "colours.pt").read_bytes(), "index_to_name.json": labels},
        {"handler": "image_classifier", "serializedFile": "colours.pt"},
    )
    segments = contents(
        {"segments.pt": (work / "segments.pt").read_bytes()},
        {"handler": "image_segmenter", "serializedFile": "segments.pt"},
    )
    objects = contents(
        {"detector.py": _DETECTOR, "detector.pt": (work / "detector.pt").read_bytes(),
         "index_to_name.json": labels},
        {"handler": "object_detector", "serializedFile": "detector.pt", "modelFile": "detector.py"},
    )  # fmt: skip
    made = (function_archive(), graph_archive(), eager, images, segments, objects)
    for name, files in zip(NAMES, made, strict=True):
        write_archive(work / f"{name}.mar", files)
    return work


@pytest.fixture(scope="module")
def theirs(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """TorchServe with the archives."""
    with torchserve(store, NAMES, tmp_path_factory.mktemp("torchserve") / "work") as url:
        yield url


@pytest.fixture(scope="module")
def ours(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Triton with what was imported; the embedded server has no PyTorch backend."""
    work = tmp_path_factory.mktemp("triton")
    for name in NAMES:
        more = ("--keep-handler",) if name == "images" else ()  # no PyTorch backend here
        args = ("import", store / f"{name}.mar", "--name", name, "--repo", work / "models", *more)
        done = trtbuild(*args)
        assert done.returncode == 0, done.stderr
    with serving(work / "models", [*NAMES, "double_graph"], work / "state") as server:
        yield f"http://127.0.0.1:{server.http_port}/v2/models"


def predicted(url: str, model: str, body: str | bytes, kind: str) -> httpx.Response:
    headers = {"Content-Type": kind}
    return httpx.post(f"{url}/{model}", content=body, headers=headers, timeout=60)


_KINDS = ("application/json", "text/plain", "application/octet-stream")
_BODIES = [(body, kind) for body in ("[1, 2]", '"word"', "abc", "{") for kind in _KINDS]


@pytest.mark.parametrize(("body", "kind"), [*_BODIES, ("é", "text/plain")])
def test_a_function_gets_and_gives_the_same(theirs: str, ours: str, body: str, kind: str) -> None:
    expected = predicted(theirs, "echo", body.encode(), kind)
    assert expected.status_code == 200, expected.text
    assert answers(ask(ours, "echo", body, kind=kind)) == [expected.text]


@pytest.mark.parametrize("body", ["refuse", "status"])
def test_errors_have_the_same_status(theirs: str, ours: str, body: str) -> None:
    expected = predicted(theirs, "echo", body, "text/plain")
    assert ask(ours, "echo", body, kind="text/plain").status_code == expected.status_code


@pytest.mark.parametrize("body", ["break", "few"])
def test_what_fails_there_fails_here(theirs: str, ours: str, body: str) -> None:
    assert predicted(theirs, "echo", body, "text/plain").status_code >= 500
    assert ask(ours, "echo", body, kind="text/plain").status_code >= 500


@pytest.mark.parametrize(
    ("model", "body"),
    [("double", {"numbers": [1.5, -2]}), ("double", {"numbers": [0, 7]}), ("eager", [1.0, 2, 3])],
)
def test_models_compute_the_same(theirs: str, ours: str, model: str, body: Any) -> None:
    text = json.dumps(body)
    expected = predicted(theirs, model, text, "application/json")
    assert expected.status_code == 200, expected.text
    assert answers(ask(ours, model, text, kind="application/json")) == [expected.text]


def picture(size: tuple[int, int]) -> bytes:
    """An image as PNG."""
    from PIL import Image

    image = Image.linear_gradient("L").resize(size).convert("RGB")
    image.paste((200, 30, 90), (0, 0, size[0] // 3, size[1] // 2))
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def both(theirs: str, ours: str, model: str, image: bytes) -> tuple[Any, Any]:
    """Their answer and ours."""
    expected = predicted(theirs, model, image, "image/png")
    assert expected.status_code == 200, expected.text
    encoded = base64.b64encode(image).decode()
    return expected.json(), json.loads(answers(ask(ours, model, encoded, kind="text/plain"))[0])


@pytest.mark.parametrize("size", [(300, 200), (224, 224), (40, 90)])
def test_images_are_classified_the_same(theirs: str, ours: str, size: tuple[int, int]) -> None:
    expected, found = both(theirs, ours, "images", picture(size))
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, abs=1e-4)


def test_images_are_divided_the_same(theirs: str, ours: str) -> None:
    expected, found = (np.array(one) for one in both(theirs, ours, "segments", picture((300, 200))))
    assert found.shape == expected.shape == (224, 224, 2)
    assert (found[..., 0] == expected[..., 0]).mean() > 0.999  # two classes may be equally likely
    assert np.abs(found[..., 1] - expected[..., 1]).max() < 1e-4


def test_the_same_objects_are_found(theirs: str, ours: str) -> None:
    expected, found = both(theirs, ours, "objects", picture((60, 40)))
    assert len(found) == len(expected) > 0
    for mine, wanted in zip(found, expected, strict=True):
        assert list(mine) == list(wanted)
        assert mine["score"] == pytest.approx(wanted["score"], abs=1e-5)
        assert next(iter(mine.values())) == pytest.approx(next(iter(wanted.values())), abs=1e-4)
