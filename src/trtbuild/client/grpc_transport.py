"""Triton's gRPC protocol through tritonclient."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from trtbuild.client import failures
from trtbuild.client.metadata import ModelMetadata, read
from trtbuild.errors import TrtbuildError
from trtbuild.signature import ServedModel
from trtbuild.wire.direct import loopback
from trtbuild.wire.tensors import InferRequest, Outputs, TensorValue

# tritonclient has no type annotations.
_triton: Any = tritonclient.grpc

_DTYPES: Mapping[str, type[Any]] = {
    "BOOL": np.bool_,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "FP32": np.float32,
    "FP64": np.float64,
}


def channel_options(url: str) -> list[tuple[str, int]]:
    """tritonclient's own limits, which options of ours take the place of, and ours."""
    limit = _triton.MAX_GRPC_MESSAGE_SIZE
    names = ("grpc.max_send_message_length", "grpc.max_receive_message_length")
    return [*((name, limit) for name in names), ("grpc.enable_http_proxy", int(not loopback(url)))]


class GrpcTransport:
    """One connection. Every error is a ServerError."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client: Any = _triton.InferenceServerClient(url, channel_args=channel_options(url))

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def metadata(self, name: str, timeout: float, card: ServedModel | None = None) -> ModelMetadata:
        """Inputs, outputs and transaction policy of a model."""
        try:
            found = self._client.get_model_metadata(name, as_json=True, client_timeout=timeout)
            config = self._client.get_model_config(name, as_json=True, client_timeout=timeout)
        except InferenceServerException as error:
            raise self._error(name, error, timeout) from None
        return read(name, found, config["config"], card)

    def models(self) -> list[str]:
        """Names of the models that are ready."""
        try:
            index = self._client.get_model_repository_index(as_json=True, client_timeout=10)
        except InferenceServerException as error:
            raise self._error("", error, 10) from None
        found = index.get("models", ())
        return sorted({item["name"] for item in found if item.get("state") == "READY"})

    def ready(self, name: str) -> bool:
        """Whether the server says that the model is ready; False while nothing answers."""
        try:
            return bool(self._client.is_model_ready(name, client_timeout=5))
        except InferenceServerException:
            return False

    def responses(
        self,
        model: str,
        request: InferRequest,
        timeout: float,
        *,
        stream: bool = True,  # noqa: ARG002 - the protocol has no other way for a decoupled model
    ) -> Iterator[Outputs]:
        """Responses as they come. Closing the iterator cancels the request on the server."""
        arrived: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        self._client.start_stream(lambda result, error: arrived.put((result, error)))
        done = False
        try:
            inputs = [_input(tensor) for tensor in request.inputs]
            try:
                self._client.async_stream_infer(
                    model,
                    inputs,
                    enable_empty_final_response=True,
                    parameters=dict(request.parameters) or None,
                )
            except InferenceServerException as failure:
                # The server went as the stream was opened; the stream's own error says it better.
                raise self._error(model, _told(arrived) or failure, timeout) from None
            until = time.monotonic() + timeout
            while not done:
                try:
                    result, error = arrived.get(timeout=max(0.001, until - time.monotonic()))
                except queue.Empty:
                    raise failures.timed_out(self.url, timeout) from None
                if error is not None:
                    raise self._error(model, error, timeout) from None
                response = result.get_response()
                done = response.parameters["triton_final_response"].bool_param
                if response.outputs:
                    yield _outputs(result, response)
        finally:
            self._client.stop_stream(cancel_requests=not done)

    def infer(
        self,
        model: str,
        request: InferRequest,
        timeout: float,
        *,
        decoupled: bool | None,  # noqa: ARG002 - a stream serves both
    ) -> Outputs:
        """The only response to a request; empty when none came."""
        found = list(self.responses(model, request, timeout))
        return found[-1] if found else {}

    def _error(self, name: str, error: Any, timeout: float) -> TrtbuildError:
        message = str(error.message() or "")
        status = str(error.status() or "")
        if status == "StatusCode.DEADLINE_EXCEEDED":
            return failures.timed_out(self.url, timeout)
        if "unknown model" in message or status == "StatusCode.NOT_FOUND":
            return failures.unknown_model(self.url, name, self.models())
        if status == "StatusCode.UNAVAILABLE" and _no_connection(message):
            return failures.unreachable(self.url)
        return failures.refused(name, message)


def _told(arrived: queue.SimpleQueue[tuple[Any, Any]]) -> Any:
    """The error that a stream reported, None if it reported none."""
    try:
        return arrived.get(timeout=1)[1]
    except queue.Empty:
        return None


def _no_connection(message: str) -> bool:
    return any(
        part in message.lower()
        for part in ("failed to connect", "connection refused", "dns", "socket closed", "reset")
    )


def _input(tensor: TensorValue) -> Any:
    if tensor.datatype == "BYTES":
        coded = [str(item).encode("utf-8") for item in tensor.data]
        array = np.array(coded, dtype=np.object_)
    else:
        array = np.array(tensor.data, dtype=_DTYPES[tensor.datatype])
    made = _triton.InferInput(tensor.name, list(tensor.shape), tensor.datatype)
    made.set_data_from_numpy(array.reshape(tensor.shape))
    return made


def _outputs(result: Any, response: Any) -> Outputs:
    found = {}
    for output in response.outputs:
        array = result.as_numpy(output.name)
        if array is not None:
            data = array.reshape(-1).tolist()
            found[output.name] = TensorValue(
                output.name, output.datatype, tuple(output.shape), data
            )
    return found
