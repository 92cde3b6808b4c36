"""A checkpoint that vLLM pools: text in, vectors, scores or labels out, as tensors.

Written by trtbuild; what it does is in settings.json, and vLLM's arguments are in model.json. Texts
are prepared and cut here, and vLLM, which batches by itself, is given their tokens.

Runs inside the Python backend's stub process. vLLM is imported in ``initialize`` only.
"""

import contextlib
import json
import locale
import os
import sys
from pathlib import Path

# The stub's Python may be isolated and start in ASCII: printing "é" would fail a load.
with contextlib.suppress(locale.Error):
    locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
for _stream in (sys.stdout, sys.stderr):
    if hasattr(_stream, "reconfigure"):
        _stream.reconfigure(encoding="utf-8", errors="replace")
_HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(_HERE))

import pooling_engine  # noqa: E402
import pooling_settings  # noqa: E402
import triton_python_backend_utils as pb_utils  # noqa: E402
from text_model import TextModel, answered, failed  # noqa: E402
from text_rows import Refused  # noqa: E402

_FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel(TextModel):
    """What the Python backend calls."""

    def initialize(self, args):
        """Start the engine that model.json describes."""
        self._engine = None
        log = pb_utils.Logger
        super().initialize(args)
        config = json.loads(args["model_config"])
        try:
            arguments = pooling_settings.engine_arguments(_HERE)
            # The model itself chooses its GPUs: its instance is on the CPU.
            devices = pooling_settings.visible_devices("MODEL", -1, config, arguments)
        except pooling_settings.SettingsError as error:
            raise pb_utils.TritonModelException(str(error)) from None
        if devices is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = devices
        some = [("a", "a")] if self.settings["head"] == "score" else ["a"]
        (probe,) = self.texts.encode(some, "END")
        engine = pooling_engine.Engine(log, self.settings, probe)
        try:
            engine.start(arguments)
        except pooling_engine.EngineError as error:
            raise pb_utils.TritonModelException(f"vLLM did not start: {error}") from None
        self._engine = engine
        log.log_info(f"[vllm-pooling] {args['model_name']} is ready")

    def execute(self, requests):
        """Prepare and hand over; answers come from the engine's thread."""
        for request in requests:
            sender = request.get_response_sender()
            try:
                work, tokens = self.prepared(request)
            except Refused as error:
                sender.send(failed(error, "INVALID_ARG"), _FINAL)
            except Exception as error:
                sender.send(failed(error), _FINAL)
            else:
                self._engine.submit(_Live(request, sender, work, tokens))

    def is_ready(self):
        """What newer servers answer to v2/models/<model>/ready; older ones never ask."""
        engine = self._engine
        return engine is not None and engine.alive()

    def finalize(self):
        """End the engine and its processes."""
        if self._engine is not None:
            self._engine.stop()
            self._engine = None


class _Live:
    """A request whose rows the engine computes."""

    def __init__(self, request, sender, work, tokens):
        self.tokens = tokens
        self.closed = False
        self._request = request
        self._sender = sender
        self._work = work

    def answer(self, rows):
        """Send what the rows of its texts come to."""
        self._send(answered(self._request, self._work, rows, self.tokens))

    def refuse(self, code, message):
        """End with an error."""
        try:
            self._send(failed(message, code))
        except Exception as error:
            pb_utils.Logger.log_warn(f"[vllm-pooling] an answer was lost: {error}")

    def cancelled(self):
        """Whether the client is gone."""
        return self._sender.is_cancelled()

    def _send(self, response):
        if not self.closed:
            self.closed = True
            self._sender.send(response, _FINAL)
