"""Triton's vLLM backend: the same tensors and parameters as NVIDIA's, a lighter path per token.

Runs inside the Python backend's stub process. vLLM is imported in ``initialize`` only, because
auto-complete runs in a process of its own and importing it takes seconds.
"""

import contextlib
import json
import locale
import os
import sys

# The stub's Python is isolated and starts in ASCII: printing "é" would fail a load.
with contextlib.suppress(locale.Error):
    locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
for _stream in (sys.stdout, sys.stderr):
    if hasattr(_stream, "reconfigure"):
        _stream.reconfigure(encoding="utf-8", errors="replace")

import backend_request  # noqa: E402
import backend_response  # noqa: E402
import backend_served  # noqa: E402
import backend_settings  # noqa: E402
import backend_tensors  # noqa: E402
import triton_python_backend_utils as pb_utils  # noqa: E402

_FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
# Without a trace vLLM would begin one of its own. https://www.w3.org/TR/trace-context/#trace-flags
_UNSAMPLED = {"traceparent": f"00-{1:032x}-{1:016x}-00"}


class TritonPythonModel:
    """What the Python backend calls."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config):
        """Fill in the tensors, the decoupled policy and ``max_batch_size: 0``."""
        return backend_tensors.complete(auto_complete_model_config)

    def initialize(self, args):
        """Start the engine that model.json describes."""
        self._log = pb_utils.Logger
        self._name = args["model_name"]
        self._engine = None
        config = json.loads(args["model_config"])
        if not pb_utils.using_decoupled_model_transaction_policy(config):
            raise pb_utils.TritonModelException(
                "config.pbtxt must say model_transaction_policy { decoupled: true }"
            )
        try:
            self._start(args, config, pb_utils.get_model_dir())
        except backend_settings.SettingsError as error:
            raise pb_utils.TritonModelException(str(error)) from None

    def _start(self, args, config, model_dir):
        arguments = backend_settings.engine_arguments(model_dir)
        adapters = backend_settings.adapters(model_dir, arguments)
        devices = backend_settings.visible_devices(
            args["model_instance_kind"], args["model_instance_device_id"], config, arguments
        )
        if devices is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = devices
        backend_settings.find_torchvision()
        import backend_arguments
        import backend_engine
        import backend_metrics

        engine_args = backend_arguments.engine_args(arguments, model_dir, adapters)
        labels = {"model": args["model_name"], "version": args["model_version"]}
        wanted = backend_settings.flag(config, "REPORT_CUSTOM_METRICS")
        metrics = backend_metrics.open_metrics(labels, engine_args, self._log) if wanted else None
        self._traced = bool(engine_args.otlp_traces_endpoint)
        # vLLM's own loggers write to a registry and a log that nobody reads here.
        engine_args.disable_log_stats = True
        self._unloads = backend_settings.flag(config, "ENABLE_VLLM_HEALTH_CHECK")
        engine = backend_engine.Engine(self._log, adapters, self._engine_died)
        try:
            engine.start(engine_args, metrics)
        except backend_engine.EngineError as error:
            raise pb_utils.TritonModelException(f"vLLM did not start: {error}") from None
        self._engine = engine
        named = {"model_name": args["model_name"], "model_version": args["model_version"]}
        self._served = backend_served.Served(
            lambda: pb_utils.is_model_ready(**named), engine.idle, engine.give_up
        )
        self._log.log_info(f"[vllm] {self._name} is ready")

    def execute(self, requests):
        """Parse and hand over; answers come from the engine's thread."""
        self._served.begin()
        for request in requests:
            sender = request.get_response_sender()
            try:
                inputs = {
                    tensor.name(): tensor.as_numpy().reshape(-1) for tensor in request.inputs()
                }
                parsed = backend_request.parse(inputs, request.parameters())
                parsed.trace = self._trace_of(request)
            except backend_request.RequestError as error:
                sender.send(backend_response.failure("INVALID_ARG", str(error)), _FINAL)
            else:
                self._engine.submit(parsed, sender)

    def _trace_of(self, request):
        """The headers that make the engine's span one of the request's trace."""
        if not self._traced:
            return None
        context = request.trace().get_context()
        return json.loads(context) if context else _UNSAMPLED

    def is_ready(self):
        """What newer servers answer to v2/models/<model>/ready; older ones never ask.

        It tells of a dead engine before the health check unloads the model, and without it.
        """
        engine = self._engine
        return engine is not None and engine.alive()

    def _engine_died(self):
        """Health check: a dead engine takes its model out of the server."""
        if not self._unloads:
            return
        try:
            pb_utils.unload_model(self._name)
        except Exception as error:
            self._log.log_error(
                f"[vllm] cannot unload {self._name}, start the server with "
                f"--model-control-mode=explicit: {error}"
            )

    def finalize(self):
        """End the engine and its processes."""
        if self._engine is not None:
            self._served.end()
            self._engine.stop()
            self._engine = None
