"""A handler of TorchServe as a model of Triton: bytes in, bytes out.

Written by trtbuild; what it does is in settings.json. The handler and its files are in archive/,
and what it imports from TorchServe is in ts/. Requests that Triton hands over together are one
batch.
"""

import asyncio
import inspect
import json
import sys
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE / "archive"), str(_HERE)]

from ts.context import Context, RequestProcessor  # noqa: E402
from ts.graph import Graph  # noqa: E402
from ts.loading import entry_point  # noqa: E402
from ts.utils.util import PredictionException  # noqa: E402


class TritonPythonModel:
    """The handler, with the context that it expects."""

    def initialize(self, args):
        """Load the handler, then let it load its model."""
        settings = json.loads((_HERE / "settings.json").read_text(encoding="utf-8"))
        gpu = args["model_instance_kind"] == "GPU"
        self._context = Context(
            args["model_name"],
            str(_HERE / "archive"),
            settings["manifest"],
            batch_size=settings["batch_size"],
            gpu=int(args["model_instance_device_id"]) if gpu else None,
            config=settings["config"],
        )
        if settings["graph"]:
            Graph.current = Graph(settings["graph"])
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        self._handle, initialize = entry_point(settings["handler"], settings["function"])
        self._finished(initialize(self._context))

    def execute(self, requests):
        """Answer all requests with one call of the handler."""
        asked = [_rows(request) for request in requests]
        rows = [row for several in asked for row, _ in several]
        headers = [header for several in asked for _, header in several]
        self._context.begin(
            {at: f"{at}" for at in range(len(rows))}, [RequestProcessor(one) for one in headers]
        )
        try:
            answers = self._answers(rows)
        except Exception as error:  # the handler may raise anything
            pb_utils.Logger.log_error(f"{type(error).__name__}: {error}")
            failed = _error(error)
            return [pb_utils.InferenceResponse(error=failed) for _ in requests]
        responses, at = [], 0
        for several in asked:
            responses.append(self._response(answers, at, len(several)))
            at += len(several)
        return responses

    def _answers(self, rows):
        answers = self._finished(self._handle(rows, self._context))
        if not isinstance(answers, list):
            raise PredictionException("Invalid model predict output", 503)
        if len(answers) != len(rows):
            raise PredictionException("number of batch response mismatched", 503)
        return [_bytes(one) for one in answers]

    def _response(self, answers, start, count):
        """Return the answers to a request, or the error that the handler set for one of them."""
        for at in range(start, start + count):
            status, phrase = self._context.get_response_status(at)
            if status >= 400:
                text = answers[at].decode("utf-8", "replace")
                return pb_utils.InferenceResponse(
                    error=pb_utils.TritonError(phrase or text, _code(status))
                )
        found = np.array(answers[start : start + count], dtype=object).reshape(-1, 1)
        return pb_utils.InferenceResponse([pb_utils.Tensor("output", found)])

    def _finished(self, value):
        return self._loop.run_until_complete(value) if inspect.isawaitable(value) else value


def _rows(request):
    """Return the rows of a request, each with its headers."""
    bodies = pb_utils.get_input_tensor_by_name(request, "body").as_numpy().reshape(-1)
    types = pb_utils.get_input_tensor_by_name(request, "content_type")
    kinds = ["" for _ in bodies]
    if types is not None:
        kinds = [one.decode("utf-8", "replace") for one in types.as_numpy().reshape(-1)]
    return [
        (
            {"body": _decoded(bytes(body), kind)},
            {"body": {"content-type": kind}, "Content-Type": kind},
        )
        for body, kind in zip(bodies, kinds)  # noqa: B905 - Triton has compared their sizes
    ]


def _decoded(body, kind):
    """Return a body as TorchServe's worker gives it to a handler."""
    try:
        if kind == "application/json":
            return json.loads(body)
        if kind.startswith("text"):
            return body.decode("utf-8")
    except ValueError:
        return bytearray(body)
    return bytearray(body)


def _bytes(value):
    """Return an answer as TorchServe writes it."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, str):
        return value.encode("utf-8")
    try:
        return json.dumps(value, indent=2).encode("utf-8")
    except TypeError:
        raise PredictionException("Unsupported model output data type.", 503) from None


def _error(error):
    if isinstance(error, PredictionException):
        return pb_utils.TritonError(error.message, _code(error.error_code))
    return pb_utils.TritonError(f"Prediction failed: {type(error).__name__}: {error}")


def _code(status):
    codes = {404: "NOT_FOUND", 503: "UNAVAILABLE", 507: "UNAVAILABLE"}
    name = codes.get(status, "INVALID_ARG" if status < 500 else "INTERNAL")
    return getattr(pb_utils.TritonError, name)
