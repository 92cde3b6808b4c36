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
_MAKE = """
import sys, torch
from net import Net

class Colours(torch.nn.Module):
    def forward(self, x):
        return torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)

torch.manual_seed(0)
torch.save(Net().state_dict(), sys.argv[1] + "/net.pt")
torch.jit.script(Colours()).save(sys.argv[1] + "/colours.pt")
"""
NAMES = ("echo", "double", "eager", "images")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four archives: a function, a graph, an eager model, an image classifier."""
    work = tmp_path_factory.mktemp("store")
    (work / "net.py").write_text(_NET)
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
    for name, files in zip(
        NAMES, (function_archive(), graph_archive(), eager, images), strict=True
    ):
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
        more = ("--keep-handler",) if name == "images" else ()
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


@pytest.mark.parametrize("size", [(300, 200), (224, 224), (40, 90)])
def test_images_are_classified_the_same(theirs: str, ours: str, size: tuple[int, int]) -> None:
    from PIL import Image

    image = Image.linear_gradient("L").resize(size).convert("RGB")
    image.paste((200, 30, 90), (0, 0, size[0] // 3, size[1] // 2))
    content = io.BytesIO()
    image.save(content, "PNG")
    encoded = base64.b64encode(content.getvalue()).decode()
    expected = predicted(theirs, "images", content.getvalue(), "image/png")
    assert expected.status_code == 200, expected.text
    found = json.loads(answers(ask(ours, "images", encoded, kind="text/plain"))[0])
    assert list(found) == list(expected.json())
    assert found == pytest.approx(expected.json(), abs=1e-4)
