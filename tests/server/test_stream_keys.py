"""A ``sequence_id`` on the first step's response reaches the last step with every later piece.

Preprocessing relies on it in Triton 25.02 and newer. The embedded server's Python backend cannot
put parameters on responses yet, so a small C backend does it here; what is proved is the server's
part, which is the same in all releases.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc.aio as grpc_client

from support import triton

STREAMS, PIECES = 32, 5
COMPILER = shutil.which("cc") or shutil.which("gcc")
ENGINE = f"""
import threading
import time
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            key = pb_utils.get_input_tensor_by_name(request, "KEY").as_numpy()
            sender = request.get_response_sender()
            threading.Thread(target=self.run, args=(sender, key)).start()

    def run(self, sender, key):
        for left in reversed(range({PIECES})):
            time.sleep(0.003)
            response = pb_utils.InferenceResponse([pb_utils.Tensor("PIECE", key)])
            sender.send(response, 0 if left else pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
LAST = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            piece = pb_utils.get_input_tensor_by_name(request, "PIECE").as_numpy()[0]
            found = np.array([piece, request.correlation_id()], dtype=np.int64)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("FOUND", found)]))
        return responses
"""
CONFIGS = {
    "label": 'backend: "label" input { name: "X" data_type: TYPE_INT64 dims: [1] } '
    'output { name: "KEY" data_type: TYPE_INT64 dims: [1] }',
    "engine": 'backend: "python" input { name: "KEY" data_type: TYPE_INT64 dims: [1] } '
    'output { name: "PIECE" data_type: TYPE_INT64 dims: [1] } '
    "model_transaction_policy { decoupled: true }",
    "last": 'backend: "python" input { name: "PIECE" data_type: TYPE_INT64 dims: [1] } '
    'output { name: "FOUND" data_type: TYPE_INT64 dims: [2] }',
    "whole": 'platform: "ensemble" input { name: "X" data_type: TYPE_INT64 dims: [1] } '
    'output { name: "FOUND" data_type: TYPE_INT64 dims: [2] } ensemble_scheduling { '
    'step { model_name: "label" model_version: -1 input_map { key: "X" value: "X" } '
    'output_map { key: "KEY" value: "_KEY" } } '
    'step { model_name: "engine" model_version: -1 input_map { key: "KEY" value: "_KEY" } '
    'output_map { key: "PIECE" value: "_PIECE" } } '
    'step { model_name: "last" model_version: -1 input_map { key: "PIECE" value: "_PIECE" } '
    'output_map { key: "FOUND" value: "FOUND" } } }',
}


@pytest.mark.skipif(not COMPILER, reason="there is no C compiler")
def test_every_piece_of_32_streams_has_the_key_of_its_own(tmp_path: Path) -> None:
    repo = tmp_path / "repository"
    for name, config in CONFIGS.items():
        (repo / name / "1").mkdir(parents=True)
        kind = "" if name == "whole" else " instance_group { count: 1 kind: KIND_CPU }"
        (repo / name / "config.pbtxt").write_text(config + kind)
    (repo / "engine" / "1" / "model.py").write_text(ENGINE)
    (repo / "last" / "1" / "model.py").write_text(LAST)
    backend = tmp_path / "backends" / "label"
    backend.mkdir(parents=True)
    source = Path(triton.__file__).with_name("label_backend.c")
    library = backend / "libtriton_label.so"
    subprocess.run([COMPILER or "", "-shared", "-fPIC", "-o", library, source], check=True)
    with triton.serving(repo, tmp_path) as server:
        found = asyncio.run(_ask(server.grpc))
    keys = [pieces[0][0] for pieces in found]
    assert len(set(keys)) == STREAMS
    assert found == [[(key, key)] * PIECES for key in keys]


async def _ask(url: str) -> list[list[tuple[int, ...]]]:
    async def one(client: Any, number: int) -> list[tuple[int, ...]]:
        given = grpc_client.InferInput("X", [1], "INT64")
        given.set_data_from_numpy(np.array([number]))

        async def requests() -> Any:
            yield {"model_name": "whole", "inputs": [given]}

        pieces = []
        async for result, error in client.stream_infer(requests()):
            assert error is None, error
            pieces.append(tuple(result.as_numpy("FOUND").tolist()))
        return pieces

    async with grpc_client.InferenceServerClient(url) as client:
        return await asyncio.gather(*(one(client, number) for number in range(STREAMS)))
