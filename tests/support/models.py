"""Light models for the real server: an echo, a stream that counts, and ones that fail."""

from __future__ import annotations

import json
from pathlib import Path

from trtbuild import pbtxt

ECHO = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        inputs = [pb_utils.get_input_tensor_by_name(r, "TEXT").as_numpy() for r in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("SAID", text)]) for text in inputs]
"""
MOST = 60_000
# One response every 5 ms until the client leaves, or for five minutes; a file says how many.
COUNT = """
import json
import pathlib
import threading
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        folder = pathlib.Path(args["model_repository"])
        self.log = folder / "counted.jsonl"

    def execute(self, requests):
        for request in requests:
            text = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy()
            sender = request.get_response_sender()
            sent = 0
            while sent < {MOST} and not sender.is_cancelled():
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("SAID", text)]))
                sent += 1
                time.sleep(0.005)
            with self.log.open("a") as log:
                log.write(json.dumps(sent) + "\\n")
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        return None
""".replace("{MOST}", str(MOST))
_INITIALIZE = ECHO + "\n    def initialize(self, args):\n        {}\n"
FAILS = _INITIALIZE.format('raise ValueError("the lookup table zürich.bin is missing")')
DIES = _INITIALIZE.format("import os; os._exit(3)")
HANGS = _INITIALIZE.format("import time; time.sleep(3600)")


def write_python_model(repo: Path, name: str, code: str = ECHO, *, decoupled: bool = False) -> Path:
    """A model of the Python backend with TEXT in and SAID out; returns ``repo``."""
    config = pbtxt.model_config(name=name, backend="python")
    config.input.add(name="TEXT", data_type=pbtxt.data_type("TYPE_STRING"), dims=[1])
    config.output.add(name="SAID", data_type=pbtxt.data_type("TYPE_STRING"), dims=[1])
    config.model_transaction_policy.decoupled = decoupled
    group = config.instance_group.add(count=1)
    group.kind = group.KIND_CPU
    (repo / name / "1").mkdir(parents=True)
    (repo / name / "config.pbtxt").write_text(pbtxt.render(config), encoding="utf-8")
    (repo / name / "1" / "model.py").write_text(code, encoding="utf-8")
    return repo


def write_vllm_model(repo: Path, name: str, model: str, **parameters: str) -> Path:
    """A directory that looks like one of the vllm builder, without weights; returns ``repo``."""
    config = pbtxt.model_config(name=name, backend="vllm")
    for key, value in parameters.items():
        config.parameters[key].string_value = value
    (repo / name / "1" / "weights").mkdir(parents=True)
    (repo / name / "config.pbtxt").write_text(pbtxt.render(config), encoding="utf-8")
    (repo / name / "1" / "model.json").write_text(json.dumps({"model": model}), encoding="utf-8")
    return repo
