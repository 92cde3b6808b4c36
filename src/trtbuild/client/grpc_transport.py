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
from trtbuild.client.dialect import Value
from trtbuild.client.metadata import ModelMetadata, Tensor, tensors
from trtbuild.errors import ServerError, TrtbuildError
from trtbuild.wire.direct import loopback

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

    def metadata(self, name: str, timeout: float) -> ModelMetadata:
        """Inputs, outputs and transaction policy of a model."""
        try:
            found = self._client.get_model_metadata(name, as_json=True, client_timeout=timeout)
            config = self._client.get_model_config(name, as_json=True, client_timeout=timeout)
        except InferenceServerException as error:
            raise self._error(name, error, timeout) from None
        policy = config["config"].get("model_transaction_policy", {})
        return ModelMetadata(
            name,
            tensors(found.get("inputs", ())),
            tensors(found.get("outputs", ())),
            decoupled=bool(policy.get("decoupled", False)),
        )

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
        self, metadata: ModelMetadata, values: Mapping[str, Value], timeout: float
    ) -> Iterator[dict[str, object]]:
        """Responses as they come. Closing the iterator cancels the request on the server."""
        arrived: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        self._client.start_stream(lambda result, error: arrived.put((result, error)))
        done = False
        try:
            inputs = [_input(metadata, name, value) for name, value in values.items()]
            try:
                self._client.async_stream_infer(
                    metadata.name, inputs, enable_empty_final_response=True
                )
            except InferenceServerException as failure:
                # The server went as the stream was opened; the stream's own error says it better.
                raise self._error(metadata.name, _told(arrived) or failure, timeout) from None
            until = time.monotonic() + timeout
            while not done:
                try:
                    result, error = arrived.get(timeout=max(0.001, until - time.monotonic()))
                except queue.Empty:
                    raise failures.timed_out(self.url, timeout) from None
                if error is not None:
                    raise self._error(metadata.name, error, timeout) from None
                response = result.get_response()
                done = response.parameters["triton_final_response"].bool_param
                if response.outputs:
                    yield _first_elements(result, response)
        finally:
            self._client.stop_stream(cancel_requests=not done)

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


def _input(metadata: ModelMetadata, name: str, value: Value) -> Any:
    tensor = metadata.input(name)
    if tensor is None:
        raise ServerError(f"{metadata.name!r} has no input {name!r}")
    array = _array(tensor, value)
    made = _triton.InferInput(name, list(array.shape), tensor.datatype)
    made.set_data_from_numpy(array)
    return made


def _array(tensor: Tensor, value: Value) -> np.ndarray[Any, Any]:
    items = value if isinstance(value, list) else [value]
    if tensor.datatype == "BYTES":
        flat = np.array([str(item).encode("utf-8") for item in items], dtype=np.object_)
    else:
        flat = np.array(items, dtype=_DTYPES[tensor.datatype])
    return flat.reshape([1] * (max(1, len(tensor.shape)) - 1) + [len(items)])


def _plain(item: Any) -> object:
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else item.item()


def _first_elements(result: Any, response: Any) -> dict[str, object]:
    """The first element of each output; of ``logprobs``, where the prompt's come last, all."""
    found: dict[str, object] = {}
    for output in response.outputs:
        array = result.as_numpy(output.name)
        if array is not None and array.size:
            items = [_plain(item) for item in array.reshape(-1)[:2]]
            found[output.name] = items if output.name == "logprobs" else items[0]
    return found
