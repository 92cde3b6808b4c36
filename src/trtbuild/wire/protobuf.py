"""Requests and responses of Triton's gRPC protocol, and their serialization."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from trtbuild.wire import raw
from trtbuild.wire.schema import message
from trtbuild.wire.tensors import (
    InferRequest,
    InferResponse,
    Parameter,
    TensorError,
    TensorValue,
)

# Repeated fields of InferTensorContents, which some servers use instead of the raw form.
_CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents",
    "INT32": "int_contents", "INT64": "int64_contents", "UINT8": "uint_contents",
    "UINT16": "uint_contents", "UINT32": "uint_contents", "UINT64": "uint64_contents",
    "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip


def encode_request(model: str, request: InferRequest) -> bytes:
    """Return a serialized ``ModelInferRequest`` with the tensors in the raw form.

    Raises:
        TensorError: Data that does not fit its tensor.
    """
    made = message("ModelInferRequest")(model_name=model, id=request.id)
    for tensor in request.inputs:
        made.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        made.raw_input_contents.append(raw.encode(tensor))
    for name in request.outputs:
        made.outputs.add(name=name)
    for name, value in request.parameters.items():
        _set(made.parameters[name], value)
    return bytes(made.SerializeToString())


def decode_response(data: bytes) -> InferResponse:
    """Decode a ``ModelInferResponse``.

    Raises:
        TensorError: The bytes are none, or its tensors do not fit it.
    """
    return _response(parse("ModelInferResponse", data))


def decode_stream_response(data: bytes) -> InferResponse | str:
    """Decode a ``ModelStreamInferResponse``: a response, or the server's error message.

    Raises:
        TensorError: The bytes are none, or its tensors do not fit it.
    """
    found = parse("ModelStreamInferResponse", data)
    return str(found.error_message) or _response(found.infer_response)


def parse(name: str, data: bytes) -> Any:
    """Parse a message; TensorError for invalid bytes."""
    try:
        return _reader(name)(data)
    except Exception as error:  # protobuf's DecodeError, which is not imported until it is needed
        if type(error).__name__ != "DecodeError":
            raise
        raise TensorError(f"{len(data)} bytes are no {name}: {error}") from None


@cache
def _reader(name: str) -> Callable[[bytes], Any]:
    read: Callable[[bytes], Any] = message(name).FromString
    return read


def parameters(messages: Mapping[str, Any]) -> dict[str, Parameter]:
    """Return the values of a map of ``InferParameter``."""
    made: dict[str, Parameter] = {}
    if not messages:
        return made
    for name in messages:  # items() of such a map is slow: Python's, not protobuf's
        value = messages[name]
        kind = value.WhichOneof("parameter_choice")
        if kind is not None:
            made[name] = getattr(value, kind)
    return made


def _response(message: Any) -> InferResponse:
    # Copies, because protobuf's own lists are slow to iterate.
    contents, rows = message.raw_output_contents[:], message.outputs[:]
    if not contents:
        outputs = {row.name: _typed(row) for row in rows}
    elif len(contents) == len(rows):
        outputs = {
            row.name: raw.decode(row.name, row.datatype, row.shape[:], content)
            for row, content in zip(rows, contents, strict=True)
        }
    else:
        raise TensorError(f"{len(rows)} outputs came with {len(contents)} contents")
    return InferResponse(
        outputs,
        parameters(message.parameters),
        message.model_name,
        message.model_version,
        message.id,
    )


def _typed(row: Any) -> TensorValue:
    """Return an output whose elements are in the field of their type."""
    data = getattr(row.contents, _CONTENTS.get(row.datatype, ""), ())
    return TensorValue(row.name, row.datatype, tuple(row.shape), list(data)).checked()


def _set(parameter: Any, value: Parameter) -> None:
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, int):
        parameter.int64_param = value
    elif isinstance(value, float):
        parameter.double_param = value
    else:
        parameter.string_param = value


def plain(message: Any) -> dict[str, Any]:
    """Return a message in the protocol's JSON form: fields and enumerations by name, 64-bit numbers
    as numbers. Fields without a value have their default, as in Triton's own JSON."""
    made: dict[str, Any] = {}
    for row in message.DESCRIPTOR.fields:
        if row.has_presence and not message.HasField(row.name):
            continue
        value = getattr(message, row.name)
        if row.message_type is not None and row.message_type.GetOptions().map_entry:
            inner = row.message_type.fields_by_name["value"]
            made[row.name] = {key: _plain_value(inner, value[key]) for key in value}
        elif row.is_repeated:
            made[row.name] = [_plain_value(row, item) for item in value]
        else:
            made[row.name] = _plain_value(row, value)
    return made


def _plain_value(row: Any, value: Any) -> Any:
    if row.message_type is not None:
        return plain(value)
    if row.enum_type is not None:
        known = row.enum_type.values_by_number.get(value)
        return known.name if known is not None else value
    return value
