"""Archives as torch-model-archiver writes them, with handlers that need no PyTorch."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

Files = Mapping[str, str | bytes]

FUNCTION = '''
"""A handler that is a function, with every kind of answer and of error."""

from ts.service import PredictionException

LOADED = []


def handle(data, context):
    if data is None:
        LOADED.append(context.system_properties["model_dir"])
        return None
    rows = [row.get("data") or row.get("body") for row in data]
    answers = []
    for at, row in enumerate(rows):
        if row == "refuse":
            raise PredictionException("this is refused", 404)
        if row == "break":
            raise KeyError("broken")
        if row == "status":
            context.set_response_status(code=400, phrase="bad row", idx=at)
        if row == "few":
            return []
        if isinstance(row, (bytes, bytearray)):
            answers.append(bytes(row)[::-1])
        elif isinstance(row, str):
            answers.append(row.upper())
        else:
            kind = context.get_request_header(at, "body")["content-type"]
            answers.append({
                "sum": sum(row), "kind": kind, "batch": len(data), "loaded": len(LOADED),
                "unit": context.model_yaml_config["handler"]["unit"],
            })
    return answers
'''

STEPS = '''
"""A handler with steps around a graph."""

import numpy as np
from ts.torch_handler.base_handler import BaseHandler
from ts.handler_utils.timer import timed


class Doubling(BaseHandler):
    def initialize(self, context):
        super().initialize(context)
        self.names = self.mapping

    @timed
    def preprocess(self, data):
        rows = [row.get("data") or row.get("body") for row in data]
        return np.array([row["numbers"] for row in rows], dtype=np.float64)

    def inference(self, data):
        (found,) = self.model.run(None, {self.model.get_inputs()[0].name: data.astype(np.float32)})
        return found

    def postprocess(self, data):
        self.context.metrics.add_counter("answers", len(data))
        return [{self.names[str(at)]: value for at, value in enumerate(row)}
                for row in data.tolist()]
'''


def doubling() -> bytes:
    """A graph that multiplies two numbers of each row by two."""
    import onnx
    from onnx import TensorProto, helper

    rows = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2]) for name in ("x", "y")
    ]
    two = helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0])
    node = helper.make_node("Mul", ["x", "two"], ["y"])
    graph = helper.make_graph([node], "doubling", rows[:1], rows[1:], [two])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    content: bytes = made.SerializeToString()
    return content


def contents(files: Files, model: Mapping[str, Any]) -> dict[str, bytes]:
    """The files of an archive with its manifest; a handler's file is ``NAME.py``."""
    manifest = {
        "createdOn": "30/11/2026 12:00:00",
        "runtime": "python",
        "model": {"modelName": "m", "modelVersion": "1.0", **model},
        "archiverVersion": "0.12.0",
    }
    found = {name: text.encode() if isinstance(text, str) else text for name, text in files.items()}
    return {"MAR-INF/MANIFEST.json": json.dumps(manifest).encode(), **found}


def function_archive(settings: str = "") -> dict[str, bytes]:
    """An archive whose handler is a function."""
    return contents(
        {"echo.py": FUNCTION, "model-config.yaml": settings or "handler: {unit: kg}\n"},
        {"handler": "echo.py:handle", "configFile": "model-config.yaml"},
    )


def graph_archive(settings: str = "batchSize: 1\n") -> dict[str, bytes]:
    """An archive with a graph and a handler around it."""
    return contents(
        {
            "steps.py": STEPS,
            "double.onnx": doubling(),
            "index_to_name.json": '{"0": "left", "1": ["x", "right"]}',
            "model-config.yaml": settings,
        },
        {"handler": "steps", "serializedFile": "double.onnx", "configFile": "model-config.yaml"},
    )


def write_archive(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write a zip, a ``.tar.gz``, or a directory, by the path's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".mar"):
        with zipfile.ZipFile(path, "w") as packed:
            for name, content in files.items():
                packed.writestr(name, content)
    elif path.name.endswith(".tar.gz"):
        with tarfile.open(path, "w:gz") as tar:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    else:
        for name, content in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
    return path


def ask(url: str, model: str, *bodies: str, kind: str = "") -> httpx.Response:
    """One request to an imported model, with a row for each body."""
    inputs: list[dict[str, Any]] = [
        {"name": name, "datatype": "BYTES", "shape": [len(bodies), 1], "data": list(values)}
        for name, values in (("body", bodies), ("content_type", [kind] * len(bodies)))
        if kind or name == "body"
    ]
    return httpx.post(f"{url}/{model}/infer", json={"inputs": inputs}, timeout=60)


def answers(response: httpx.Response) -> list[str]:
    """The rows of an answer."""
    assert response.status_code == 200, response.text
    found: list[str] = response.json()["outputs"][0]["data"]
    return found
