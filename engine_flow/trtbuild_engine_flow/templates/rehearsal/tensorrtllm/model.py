"""A stand-in for TensorRT-LLM's Triton backend: the same tensors, the checkpoint on the CPU.

It runs the checkpoint that an engine is (to be) built from in vLLM, with in-flight batching,
streaming, end and stop ids and cancellation. No TensorRT kernel runs; what it cannot do as the
real backend does, it refuses and says so.
"""

import contextlib
import json
import locale
import sys
import threading
from pathlib import Path

# The stub's Python is isolated and starts in ASCII: printing "é" would fail a load.
with contextlib.suppress(locale.Error):
    locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
for _stream in (sys.stdout, sys.stderr):
    if hasattr(_stream, "reconfigure"):
        _stream.reconfigure(encoding="utf-8", errors="replace")

import standin_engine  # noqa: E402
import standin_request  # noqa: E402
import standin_settings  # noqa: E402
import triton_python_backend_utils as pb_utils  # noqa: E402

_FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    """What the Python backend calls."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config):
        """The real backend completes nothing either."""
        return auto_complete_model_config

    def initialize(self, args):
        """Check what the real backend checks, and start vLLM."""
        config = json.loads(args["model_config"])
        version_dir = Path(args["model_repository"]) / args["model_version"]
        name = args["model_name"]
        try:
            self._settings = standin_settings.Settings(name, version_dir, config)
            self._engine = standin_engine.Engine(pb_utils.Logger)
            self._engine.start(self._settings.arguments)
        except (standin_settings.SettingsError, standin_engine.EngineError) as error:
            raise pb_utils.TritonModelException(f"{name}: {error}") from None
        pb_utils.Logger.log_info(f"[rehearsal] {name} is ready: vLLM stands in for its engine")

    def execute(self, requests):
        """Hand over, when decoupled; else wait for all answers."""
        if self._settings.decoupled:
            for request in requests:
                sender = request.get_response_sender()
                self._submit(request, _sending(sender), sender.is_cancelled)
            return None
        waiting = [_Waiting() for _ in requests]
        for request, place in zip(requests, waiting, strict=True):
            self._submit(request, place.take, request.is_cancelled)
        return [place.result() for place in waiting]

    def _submit(self, request, send, is_cancelled):
        inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        stop = inputs.get("stop")
        try:
            if stop is not None and stop.reshape(-1)[0]:
                self._stop(request.request_id())
                send(pb_utils.InferenceResponse([]), True)
                return
            jobs = standin_request.jobs(inputs, self._settings)
        except standin_request.RequestError as error:
            wrong = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
            send(pb_utils.InferenceResponse(error=wrong), True)
            return
        names = set(request.requested_output_names())
        key = inputs.get("stream_key")
        found = standin_engine.Request(request.request_id(), names, key, send, is_cancelled)
        self._engine.submit(found, jobs)

    def _stop(self, request_id):
        if not request_id:  # it would be every request that has none
            raise standin_request.RequestError("stop takes the id of the request that it ends")
        self._engine.cancel(request_id)

    def finalize(self):
        """End vLLM and its processes."""
        self._engine.stop()


def _sending(sender):
    return lambda response, last: sender.send(response, _FINAL if last else 0)


class _Waiting:
    """The one answer of a request to a model that is not decoupled."""

    def __init__(self):
        self._done = threading.Event()
        self._response = None

    def take(self, response, _last):
        self._response = response
        self._done.set()

    def result(self):
        self._done.wait()
        return self._response
