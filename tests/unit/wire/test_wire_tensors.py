"""Tensors survive both protocols, and data that does not fit is refused by name."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from trtbuild.wire import kserve, protobuf, raw
from trtbuild.wire.raw import FORMATS
from trtbuild.wire.schema import message
from trtbuild.wire.tensors import InferRequest, TensorError, TensorValue

official: Any = service_pb2

TENSORS = (
    TensorValue("text", "BYTES", (3, 1), ["東京", b"", "plain"]),
    TensorValue("flag", "BOOL", (2,), [True, False]),
    TensorValue("count", "UINT64", (1, 2), [0, 2**64 - 1]),
    TensorValue("vector", "FP32", (3,), [0.5, -2.0, 1e10]),
    TensorValue("empty", "FP32", (0, 4), []),
)
HALVES = (
    TensorValue("half", "FP16", (2,), [0.5, -2.0]),
    TensorValue("brain", "BF16", (3,), [1.0, -3.140625, math.inf]),
)
REQUEST = InferRequest(
    TENSORS + HALVES, {"priority": 3, "on": True, "a": "b", "f": 0.25}, ("y",), "r-1"
)


def plain(tensor: TensorValue) -> tuple[object, ...]:
    """What must be the same after a journey."""
    data = tensor.texts if tensor.datatype == "BYTES" else list(tensor.data)
    return tensor.name, tensor.datatype, tensor.shape, data


def vector(datatype: str, data: list[Any]) -> TensorValue:
    return TensorValue("x", datatype, (len(data),), data)


def through(tensor: TensorValue) -> TensorValue:
    """As bytes and back."""
    return raw.decode(tensor.name, tensor.datatype, tensor.shape, raw.encode(tensor))


@pytest.mark.parametrize("tensor", TENSORS, ids=lambda tensor: tensor.name)
def test_a_tensor_survives_json(tensor: TensorValue) -> None:
    text = json.dumps(kserve.tensor_to_json(tensor))
    assert plain(kserve.tensor_from_json(json.loads(text))) == plain(tensor)


@pytest.mark.parametrize("tensor", TENSORS + HALVES, ids=lambda tensor: tensor.name)
def test_a_tensor_survives_its_bytes(tensor: TensorValue) -> None:
    found = through(tensor)
    assert plain(found) == plain(tensor)
    assert raw.encode(found) == raw.encode(tensor)


def test_numbers_reach_numpy_without_a_copy() -> None:
    found = through(TENSORS[3])
    array = np.asarray(found.data)
    assert array.dtype == np.float32 and not array.flags.owndata
    assert array.tolist() == [0.5, -2.0, 1e10]


def test_bf16_is_rounded_to_the_nearest_even() -> None:
    assert raw.encode(vector("BF16", [1 + 2**-8, 1 + 3 * 2**-8])) == bytes.fromhex("803f 823f")
    assert math.isnan(through(vector("BF16", [math.nan])).data[0])


@pytest.mark.parametrize("datatype", FORMATS)
def test_every_datatype_has_its_size(datatype: str) -> None:
    assert list(through(vector(datatype, [1, 0, 1])).data) == [1, 0, 1]


def test_protobuf_is_what_the_official_client_reads() -> None:
    found = official.ModelInferRequest.FromString(protobuf.encode_request("m", REQUEST))
    assert (found.model_name, found.model_version, found.id) == ("m", "", "r-1")
    assert [(one.name, one.datatype, tuple(one.shape)) for one in found.inputs] == [
        tensor[:3] for tensor in REQUEST.inputs
    ]
    assert list(found.raw_input_contents) == [raw.encode(one) for one in REQUEST.inputs]
    assert [one.name for one in found.outputs] == ["y"]
    assert protobuf.parameters(found.parameters) == REQUEST.parameters


def answer(**more: Any) -> bytes:
    response = official.ModelInferResponse(model_name="m", model_version="1", id="r-1")
    for tensor in TENSORS:
        response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        response.raw_output_contents.append(raw.encode(tensor))
    response.parameters["triton_final_response"].bool_param = True
    return bytes(
        official.ModelStreamInferResponse(infer_response=response, **more).SerializeToString()
    )


def test_a_response_of_the_official_server_is_read() -> None:
    found = protobuf.decode_stream_response(answer())
    assert not isinstance(found, str)
    assert (found.model, found.version, found.id, found.final) == ("m", "1", "r-1", True)
    assert [*map(plain, found.outputs.values())] == [*map(plain, TENSORS)]
    assert [*found.outputs] == [tensor.name for tensor in TENSORS]
    assert protobuf.decode_stream_response(answer(error_message="no")) == "no"


def test_contents_that_are_not_raw_are_read_too() -> None:
    response = official.ModelInferResponse(model_name="m")
    output = response.outputs.add(name="y", datatype="INT32", shape=[2])
    output.contents.int_contents.extend([7, 8])
    assert protobuf.decode_response(response.SerializeToString()).outputs["y"].data == [7, 8]


@pytest.mark.parametrize("read", [protobuf.decode_response, protobuf.decode_stream_response])
def test_bytes_that_are_no_message_are_refused(read: Any) -> None:
    with pytest.raises(TensorError):
        read(b"\xff\xff\xff garbage")


def test_contents_must_be_as_many_as_outputs() -> None:
    response = official.ModelInferResponse(model_name="m", raw_output_contents=[b"", b""])
    response.outputs.add(name="y", datatype="FP32", shape=[0])
    with pytest.raises(TensorError, match="2 contents"):
        protobuf.decode_response(response.SerializeToString())


def test_the_binary_extension() -> None:
    body, length = kserve.encode_request(REQUEST)
    head = json.loads(body[:length])
    assert body[length:] == b"".join(raw.encode(tensor) for tensor in REQUEST.inputs)
    assert head["inputs"][0] == {
        "name": "text",
        "datatype": "BYTES",
        "shape": [3, 1],
        "parameters": {"binary_data_size": len(raw.encode(TENSORS[0]))},
    }
    assert head["outputs"] == [{"name": "y", "parameters": {"binary_data": True}}]
    assert head["id"] == "r-1" and head["parameters"]["priority"] == 3
    everything, length = kserve.encode_request(InferRequest(TENSORS))
    assert json.loads(everything[:length])["parameters"] == {"binary_data_output": True}


def test_an_answer_may_mix_json_and_binary() -> None:
    rows = [
        {**kserve.tensor_to_json(TENSORS[3]), "data": [[0.5, -2.0], [1e10]]},
        {"name": "text", "datatype": "BYTES", "shape": [3, 1],
         "parameters": {"binary_data_size": len(raw.encode(TENSORS[0]))}},
    ]  # fmt: skip
    head = json.dumps({"model_name": "m", "model_version": "1", "outputs": rows}).encode()
    found = kserve.decode_response(head + raw.encode(TENSORS[0]), len(head))
    assert [*map(plain, found.outputs.values())] == [plain(TENSORS[3]), plain(TENSORS[0])]
    with pytest.raises(TensorError, match="of 23 bytes came"):
        kserve.decode_response(head + raw.encode(TENSORS[0])[:-1], len(head))


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"[" * 100_000, b'{"model_name": "m", "outputs": [3]}']
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(TensorError):
        kserve.decode_response(body)


def test_json_cannot_hold_everything() -> None:
    for tensor in (*HALVES, vector("BYTES", [b"\xff"])):
        with pytest.raises(TensorError, match="binary form"):
            kserve.encode_request(InferRequest((tensor,)), binary=False)


@pytest.mark.parametrize(
    ("datatype", "elements", "shape"),
    [
        ("INT8", [1000], None), ("INT8", ["a"], None), ("BYTES", [3], None), ("FP8", [1.0], None),
        ("FP32", [1.0], (2,)), ("FP32", [None], None), ("BYTES", ["\ud800"], None),
        ("FP16", [1e9], None),
    ],
)  # fmt: skip
def test_elements_that_do_not_fit_are_refused(datatype: str, elements: Any, shape: Any) -> None:
    with pytest.raises(TensorError, match="'x'"):
        raw.encode(TensorValue("x", datatype, shape or (len(elements),), elements))


@pytest.mark.parametrize(
    ("datatype", "content"),
    [
        ("BYTES", b"\x05\0\0\0ab"),
        ("FP32", b"\0" * 5),
        ("FP32", b"\0" * 8),
        ("BF16", b"\0"),
        ("FP8", b""),
    ],
)
def test_raw_bytes_that_do_not_fit_are_refused(datatype: str, content: bytes) -> None:
    with pytest.raises(TensorError, match="'x'"):
        raw.decode("x", datatype, (1,), content)


def test_the_schema_is_a_pool_of_its_own() -> None:
    assert message("ModelInferRequest") is not official.ModelInferRequest
    assert message("ModelInferRequest").DESCRIPTOR.full_name == "inference.ModelInferRequest"


@pytest.mark.parametrize(
    "row",
    [
        {"shape": [math.inf], "data": [1]},
        {"shape": [10**400], "data": []},
        {"shape": [1], "parameters": {"binary_data_size": math.inf}},
        {"shape": [1], "parameters": {"binary_data_size": -1}},
    ],
)
def test_numbers_that_no_tensor_has_are_refused(row: dict[str, Any]) -> None:
    """JSON's 1e999 is infinite for Python."""
    body = json.dumps({"outputs": [{"name": "o", "datatype": "INT32", **row}]}).encode()
    with pytest.raises(TensorError):
        kserve.decode_response(body)
