"""The backend ``onnxruntime`` on a CPU: the real ONNX Runtime, called from Python.

The embedded server's wheel carries the Python backend alone. This one runs the repository's
``model.onnx`` as it is, by the package in the directory that ``TRTBUILD_ONNXRUNTIME`` names. It
takes threads and the graph's optimization level from a model's configuration as NVIDIA's backend
does; accelerators need a GPU.
"""

import json
import os
import sys
from pathlib import Path

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What the Python backend calls."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config):
        """Complete nothing: a Python-based backend is not told where its model lies."""
        return auto_complete_model_config

    def initialize(self, args):
        """Load the graph."""
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        self._session = _session(config, folder)
        if not config["input"] or not config["output"]:
            raise ValueError("config.pbtxt names no inputs or outputs: write those of the graph")
        self._inputs = [row["name"] for row in config["input"]]
        self._outputs = [row["name"] for row in config["output"]]

    def execute(self, requests):
        """Run each request; the scheduler joined what may be one batch into one call of ours."""
        return [self._response(request) for request in requests]

    def _response(self, request):
        tensors = [pb_utils.get_input_tensor_by_name(request, name) for name in self._inputs]
        given = {tensor.name(): tensor.as_numpy() for tensor in tensors if tensor is not None}
        wanted = [name for name in self._outputs if name in set(request.requested_output_names())]
        try:
            values = self._session.run(wanted, given)
        except Exception as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"onnx runtime: {error}"))
        pairs = zip(wanted, values, strict=True)
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, value) for name, value in pairs])


def _session(config, folder):
    path = os.environ.get("TRTBUILD_ONNXRUNTIME", "")
    if path and path not in sys.path:
        sys.path.insert(0, path)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    parameters = {name: row["string_value"] for name, row in config.get("parameters", {}).items()}
    options.intra_op_num_threads = int(parameters.get("intra_op_thread_count", 0))
    options.inter_op_num_threads = int(parameters.get("inter_op_thread_count", 0))
    # Its threads would spin on the cores that the server and the other models need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    level = config.get("optimization", {}).get("graph", {}).get("level", 0)
    if level < 0:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    model = Path(folder) / (config.get("default_model_filename") or "model.onnx")
    return onnxruntime.InferenceSession(str(model), options, ["CPUExecutionProvider"])
