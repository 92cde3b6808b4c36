"""TensorRT-LLM's LLM API behind Triton: NVIDIA's tensors, deltas when streaming, typed outputs.

Runs inside the Python backend's stub process. TensorRT-LLM is imported in ``initialize`` only,
after the GPUs of this instance were chosen: importing it opens every GPU that is visible.
"""

import contextlib
import json
import locale
import os
import sys

# The stub's Python may be isolated and start in ASCII: printing "é" would fail a load.
with contextlib.suppress(locale.Error):
    locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
for _stream in (sys.stdout, sys.stderr):
    if hasattr(_stream, "reconfigure"):
        _stream.reconfigure(encoding="utf-8", errors="replace")

import llmapi_engine  # noqa: E402
import llmapi_request  # noqa: E402
import llmapi_response  # noqa: E402
import llmapi_settings  # noqa: E402
import triton_python_backend_utils as pb_utils  # noqa: E402

_FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    """What the Python backend calls."""

    def initialize(self, args):
        """Load the model that model.yaml describes."""
        self._log = pb_utils.Logger
        self._engine = None
        config = json.loads(args["model_config"])
        self._decoupled = pb_utils.using_decoupled_model_transaction_policy(config)
        try:
            settings = llmapi_settings.read(pb_utils.get_model_dir())
            devices = llmapi_settings.visible_devices(
                args["model_instance_name"], config, settings.arguments
            )
        except llmapi_settings.SettingsError as error:
            raise pb_utils.TritonModelException(str(error)) from None
        llmapi_settings.forget_mpi_job()
        if devices is not None:
            # The second name reaches workers that MPI starts on this node.
            os.environ["CUDA_VISIBLE_DEVICES"] = devices
            os.environ["TRTLLM_VISIBLE_DEVICES"] = devices
            settings.arguments.setdefault("gpus_per_node", len(devices.split(",")))
        engine = llmapi_engine.Engine(self._log, settings)
        try:
            engine.start()
        except llmapi_engine.EngineError as error:
            raise pb_utils.TritonModelException(f"TensorRT-LLM did not start: {error}") from None
        self._engine = engine
        self._log.log_info(f"[trtllm] {args['model_instance_name']} is ready")

    def execute(self, requests):
        """Parse and hand over; answers come from the engine's thread."""
        for request in requests:
            sender = request.get_response_sender()
            try:
                inputs = {
                    tensor.name(): tensor.as_numpy().reshape(-1) for tensor in request.inputs()
                }
                parsed = llmapi_request.parse(inputs, request.request_id(), self._decoupled)
            except llmapi_request.RequestError as error:
                sender.send(llmapi_response.failure("INVALID_ARG", str(error)), _FINAL)
            else:
                self._engine.submit(parsed, sender)

    def is_ready(self):
        """What newer servers answer to v2/models/<model>/ready; older ones never ask."""
        engine = self._engine
        return engine is not None and engine.alive()

    def finalize(self):
        """End the engine and its processes."""
        if self._engine is not None:
            self._engine.stop()
            self._engine = None
