"""Requests and responses of the KServe v2 protocol as JSON, with Triton's binary extension.

The extension sends a tensor's bytes after the JSON. Without it each element is JSON, which does not
support ``FP16`` and ``BF16``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from trtbuild.wire import raw
from trtbuild.wire.failures import UNREADABLE
from trtbuild.wire.tensors import InferRequest, InferResponse, Outputs, TensorError, TensorValue

_ONE = (1,)
_OF_THE_MODEL = frozenset(("model_name", "model_version"))  # what Triton adds to the outputs
HEADER_LENGTH = "Inference-Header-Content-Length"
"""The HTTP header that holds the length of the JSON before the tensors' bytes."""


def encode_request(request: InferRequest, *, binary: bool = True) -> tuple[bytes, int]:
    """Return the body of a request, and the length of its JSON (for :data:`HEADER_LENGTH`).

    Args:
        request: The request.
        binary: Use the binary extension, for the response too.

    Raises:
        TensorError: Data that does not fit its tensor or, without ``binary``, JSON.
    """
    contents = [raw.encode(tensor) for tensor in request.inputs] if binary else []
    head: dict[str, Any] = {
        "inputs": [
            {**_head(tensor), "parameters": {"binary_data_size": len(content)}}
            for tensor, content in zip(request.inputs, contents, strict=True)
        ]
        if binary
        else [tensor_to_json(tensor) for tensor in request.inputs]
    }
    if request.id:
        head["id"] = request.id
    parameters = dict(request.parameters)
    if request.outputs:
        wanted = {"parameters": {"binary_data": True}} if binary else {}
        head["outputs"] = [{"name": name, **wanted} for name in request.outputs]
    elif binary:
        parameters["binary_data_output"] = True
    if parameters:
        head["parameters"] = parameters
    text = json.dumps(head, ensure_ascii=False).encode("utf-8")
    return b"".join((text, *contents)), len(text)


def decode_response(body: bytes, json_length: int | None = None) -> InferResponse:
    """Decode a response body; ``json_length`` is the value of :data:`HEADER_LENGTH`, if any.

    Raises:
        TensorError: The body is not a response, or its tensors do not fit it.
    """
    size = len(body) if json_length is None else json_length
    try:
        found = json.loads(body[:size])
        outputs = {tensor.name: tensor for tensor in _outputs(found["outputs"], body[size:])}
        return InferResponse(
            outputs,
            dict(found.get("parameters") or {}),
            str(found.get("model_name", "")),
            str(found.get("model_version", "")),
            str(found.get("id", "")),
        )
    except TensorError:
        raise
    except UNREADABLE as error:
        raise TensorError(f"not a response of the v2 protocol: {error!r}") from None


def generate_body(request: InferRequest) -> dict[str, Any]:
    """Return a request for Triton's generate endpoint: a value or a list by tensor."""
    body = {
        tensor.name: tensor.data[0] if len(tensor.data) == 1 else list(tensor.data)
        for tensor in request.inputs
    }
    return {**body, **({"parameters": dict(request.parameters)} if request.parameters else {})}


def generate_outputs(response: Mapping[str, Any]) -> Outputs:
    """Return the outputs of the generate endpoint, which have no types and shapes."""
    return {
        name: TensorValue(name, "", (len(value),), value)
        if type(value) is list
        else TensorValue(name, "", _ONE, (value,))
        for name, value in response.items()
        if name not in _OF_THE_MODEL
    }


def tensor_to_json(tensor: TensorValue) -> dict[str, Any]:
    """``{"name": …, "datatype": …, "shape": …, "data": […]}``, the data flat in row-major order.

    Raises:
        TensorError: ``FP16``, ``BF16``, bytes that are not UTF-8, or a wrong number of elements.
    """
    if tensor.datatype in ("FP16", "BF16"):
        raise TensorError(f"{tensor.name!r}: JSON has no {tensor.datatype}; use the binary form")
    try:
        data = [
            element.decode("utf-8") if isinstance(element, bytes) else element
            for element in tensor.checked().data
        ]
    except UnicodeDecodeError:
        raise TensorError(
            f"{tensor.name!r} holds bytes that are not UTF-8; use the binary form"
        ) from None
    return {**_head(tensor), "data": data}


def tensor_from_json(value: Mapping[str, Any]) -> TensorValue:
    """Reverse :func:`tensor_to_json`; nested data is accepted too.

    Raises:
        TensorError: A missing key, or a wrong number of elements.
    """
    try:
        shape = tuple(int(size) for size in value["shape"])
        data = list(_flat(value["data"]))
        return TensorValue(str(value["name"]), str(value["datatype"]), shape, data).checked()
    except TensorError:
        raise
    except UNREADABLE as error:
        raise TensorError(f"not a tensor of the v2 protocol: {error!r}") from None


def _head(tensor: TensorValue) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


def _flat(data: Iterable[Any]) -> Iterator[Any]:
    for item in data:
        if isinstance(item, list):
            yield from _flat(item)
        else:
            yield item


def _outputs(rows: Iterable[Mapping[str, Any]], binary: bytes) -> Iterator[TensorValue]:
    at = 0
    for row in rows:
        size = (row.get("parameters") or {}).get("binary_data_size")
        if size is None:
            yield tensor_from_json(row)
            continue
        content = binary[at : at + size]
        if len(content) != size:
            raise TensorError(f"{row['name']!r}: {len(content)} of {size} bytes came")
        at += size
        yield raw.decode(str(row["name"]), str(row["datatype"]), row["shape"], content)
