"""Would Triton's ONNX Runtime backend load this model? Asked of a real ONNX Runtime session.

The session says which inputs, outputs and overridable initializers a file has and of which shapes.
The checks of the backend are written down here once more, straight down its source
(triton-inference-server/onnxruntime_backend, src/onnxruntime.cc and src/onnxruntime_utils.cc at
02ffb9e), over the configuration as the JSON that the backend reads, without a line of the
validator's. It ends at the first refusal, as the backend does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnxruntime
from google.protobuf import json_format

# onnxruntime_utils.cc: OnnxDataTypeToModelConfigDataType, ConvertFromOnnxDataType,
# OnnxDataTypeName, by the names that ONNX Runtime's Python interface has for the types.
_CONFIG = {
    "float": "FP32", "double": "FP64", "float16": "FP16", "string": "STRING", "bool": "BOOL",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
}  # fmt: skip
_ONNX = {
    "float": "FLOAT", "double": "DOUBLE", "float16": "FLOAT16", "string": "STRING",
    "bfloat16": "BFLOAT16", **{name: name.upper() for name in _CONFIG if "int" in name},
    "bool": "BOOL",
}  # fmt: skip
_KINDS = {"seq": "SEQUENCE", "map": "MAP", "sparse_tensor": "SPARSETENSOR", "optional": "UNKNOWN"}


class RefusedError(Exception):
    """What the backend, or the server about the completed configuration, says."""


@dataclass
class Info:
    """An entry of the backend's map of tensors."""

    type: str
    dims: list[int]


class Session:
    """A model as ONNX Runtime loads it."""

    def __init__(self, content: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )

    def infos(self, which: str) -> dict[str, Info]:
        """InputInfos, OutputInfos, OverridableInitializerInfos; refuses what is not a tensor."""
        infos: dict[str, Info] = {}
        for one in getattr(self._session, f"get_{which}")():
            outer, _, inner = one.type.rstrip(")").partition("(")
            if outer != "tensor":
                raise RefusedError(
                    f"Unsupported ONNX Type 'ONNX_TYPE_{_KINDS[outer]}' for I/O '{one.name}', "
                    "expected 'ONNX_TYPE_TENSOR'."
                )
            dims = [size if isinstance(size, int) else -1 for size in one.shape]
            infos.setdefault(one.name, Info(inner, dims))
        return infos


def verdict(session: Session, config: Any, *, auto_complete: bool) -> str:
    """What the server says, empty if it loads the model."""
    model = json_format.MessageToDict(
        config, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    try:
        if auto_complete:
            _auto_complete(session, model)
        _server(model)
        _instance(session, model)
    except RefusedError as refused:
        return str(refused)
    return ""


def _auto_complete(session: Session, model: dict[str, Any]) -> None:
    given = len(model["input"]) + len(model["batch_input"])
    if given and model["output"]:
        return
    inputs, outputs = session.infos("inputs"), session.infos("outputs")
    batch = True
    for info in [*inputs.values(), *outputs.values()]:
        if len(info.dims) == 0 or info.dims[0] != -1:
            batch = False
    if batch:
        if model["max_batch_size"] == 0:
            model["max_batch_size"] = 4
    elif model["max_batch_size"] != 0:
        raise RefusedError(
            f"autofill failed for model '{model['name']}': model does not support batching while "
            "non-zero max_batch_size is specified"
        )
    for key, infos, wanted in (
        ("input", inputs, given == 0),
        ("output", outputs, not model["output"]),
    ):
        if wanted:
            model[key] = [_io(name, info, model["max_batch_size"]) for name, info in infos.items()]


def _io(name: str, info: Info, batch: int) -> dict[str, Any]:
    dims = info.dims[1 if batch > 0 else 0 :]
    io: dict[str, Any] = {"name": name, "dims": dims, "optional": False}
    io["data_type"] = f"TYPE_{_CONFIG.get(info.type, 'INVALID')}"
    if not dims:
        io["dims"] = [1]
        if batch > 0:
            io["reshape"] = {"shape": []}
    return io


def _server(model: dict[str, Any]) -> None:
    """The server's own look at the tensors, as far as the generated ones can go wrong."""
    for kind in ("input", "output"):
        for io in model[kind]:
            said = f"model {kind} '{io['name']}' "
            if io["data_type"] == "TYPE_INVALID":
                raise RefusedError(f"{said}must specify 'data_type' for {model['name']}")
            if not io["dims"]:
                raise RefusedError(f"{said}must specify 'dims' for {model['name']}")
            if any(int(size) < 1 and int(size) != -1 for size in io["dims"]):
                raise RefusedError(
                    f"{said}dimension must be integer >= 1, or -1 to indicate a variable-size "
                    f"dimension for {model['name']}"
                )
            if io.get("reshape") == {"shape": []} and model["max_batch_size"] == 0:
                raise RefusedError(
                    f"{said}cannot have empty reshape for non-batching model as scalar tensors "
                    f"are not supported for {model['name']}"
                )
    _batch_io(model)


def _batch_io(model: dict[str, Any]) -> None:
    names = {kind: {io["name"] for io in model[kind]} for kind in ("input", "output")}
    for batch in [*model["batch_input"], *model["batch_output"]]:
        for source in batch["source_input"]:
            if source not in names["input"]:
                raise RefusedError(f"unknown source input name '{source}' for {model['name']}")
    for batch in model["batch_output"]:
        for target in batch["target_name"]:
            if target not in names["output"]:
                raise RefusedError(f"unknown target output name '{target}' for {model['name']}")


def _instance(session: Session, model: dict[str, Any]) -> None:
    expected = len(model["input"])
    for io in model["input"]:
        if io["optional"]:
            expected -= 1
    expected += len(model["batch_input"])
    if "sequence_batching" in model:
        for kind in ("START", "END", "READY"):
            expected += _boolean_control(session, model, f"CONTROL_SEQUENCE_{kind}")
        expected += _typed_control(session, model, "CONTROL_SEQUENCE_CORRID")
        expected += len(model["sequence_batching"]["state"])
    _validate_inputs(session, model, expected)
    _validate_outputs(session, model)


def _boolean_control(session: Session, model: dict[str, Any], kind: str) -> bool:
    for tensor in model["sequence_batching"]["control_input"]:
        for control in tensor["control"]:
            if control["kind"] == kind:
                data_type = "TYPE_BOOL"
                if control["int32_false_true"]:
                    data_type = "TYPE_INT32"
                elif control["fp32_false_true"]:
                    data_type = "TYPE_FP32"
                _control(session, model, tensor["name"], data_type)
                return True
    return False


def _typed_control(session: Session, model: dict[str, Any], kind: str) -> bool:
    for tensor in model["sequence_batching"]["control_input"]:
        for control in tensor["control"]:
            if control["kind"] == kind:
                _control(session, model, tensor["name"], control["data_type"])
                return True
    return False


def _control(session: Session, model: dict[str, Any], name: str, data_type: str) -> None:
    inputs = session.infos("inputs")
    if name not in inputs:
        raise RefusedError(
            f"configuration specified sequence control '{name}', but model does not provide that "
            "input"
        )
    dims = inputs[name].dims[1 if model["max_batch_size"] > 0 else 0 :]
    start = f"unable to load model '{model['name']}', sequence control '{name}'"
    if len(dims) != 1 or dims[0] != 1:
        raise RefusedError(f"{start} in model has dims {_shape(dims)} but dims [1] is expected")
    if data_type != f"TYPE_{_CONFIG.get(inputs[name].type)}":
        has = _ONNX.get(inputs[name].type, "UNDEFINED")
        raise RefusedError(
            f"{start}, the model expects data-type {has} but the model configuration specifies "
            f"data-type {data_type}"
        )


def _validate_inputs(session: Session, model: dict[str, Any], expected: int) -> None:
    infos = session.infos("inputs")
    overridable = session.infos("overridable_initializers")
    name = model["name"]
    if len(infos) != expected:
        raise RefusedError(
            f"unable to load model '{name}', configuration expects {expected} inputs, model "
            f"provides {len(infos)}"
        )
    infos.update(overridable)
    for io in model["input"]:
        start = f"unable to load model '{name}', "
        if io["optional"] and model["max_batch_size"] != 0:
            raise RefusedError(
                f"{start}optional input '{io['name']}' is not supported for models that support "
                "batching"
            )
        info = _named("input", io, infos)
        _typed("input", io, info, name)
        ragged = io.get("allow_ragged_batch", False)
        if io["optional"] and ragged:
            raise RefusedError(
                f"{start}configuration expects model provides input with shape [-1] for ragged "
                f"input '{io['name']}', which is not supported for optional input"
            )
        if ragged:
            if info.dims != [-1]:
                raise RefusedError(
                    f"{start}configuration expects model provides input with shape [-1]  for "
                    f"ragged input '{io['name']}', model provides {_shape(info.dims)}"
                )
            continue
        _shaped(io, info, model, exact=False)


def _validate_outputs(session: Session, model: dict[str, Any]) -> None:
    infos = session.infos("outputs")
    batch_outputs = {t for one in model["batch_output"] for t in one["target_name"]}
    for io in model["output"]:
        info = _named("output", io, infos)
        _typed("output", io, info, model["name"])
        if io["name"] not in batch_outputs:
            _shaped(io, info, model, exact=True)


def _named(kind: str, io: dict[str, Any], infos: dict[str, Info]) -> Info:
    if io["name"] not in infos:
        raise RefusedError(
            f"unexpected inference {kind} '{io['name']}', allowed {kind}s are: "
            + ", ".join(sorted(infos))
        )
    return infos[io["name"]]


def _typed(kind: str, io: dict[str, Any], info: Info, model: str) -> None:
    wanted = io["data_type"].removeprefix("TYPE_")
    if wanted not in _CONFIG.values():
        raise RefusedError(
            f"unsupported datatype {io['data_type']} for {kind} '{io['name']}' for model '{model}'"
        )
    if wanted != _CONFIG.get(info.type):
        provides = _CONFIG.get(info.type, "<invalid>").replace("STRING", "BYTES")
        raise RefusedError(
            f"unable to load model '{model}', configuration expects datatype {io['data_type']} for "
            f"{kind} '{io['name']}', model provides TYPE_{provides}"
        )


def _shaped(io: dict[str, Any], info: Info, model: dict[str, Any], *, exact: bool) -> None:
    said = io["reshape"]["shape"] if "reshape" in io else io["dims"]
    dims = [int(size) for size in said]
    if len(info.dims) != 0:
        _compare(model, io["name"], info.dims, dims, exact=exact)
        return
    for size in dims:
        if size != 1:
            raise RefusedError(
                f"unable to load model '{model['name']}', scalar tensor '{io['name']}', should "
                "only provide 1 in the model configuration when the model doesn't support "
                f"batching. Model configuration provided: {_shape(dims)}."
            )


def _compare(
    model: dict[str, Any], tensor: str, has: list[int], dims: list[int], *, exact: bool
) -> None:
    start = f"model '{model['name']}', tensor '{tensor}': "
    full = dims
    if model["max_batch_size"] > 0:
        if has[0] != -1:
            raise RefusedError(
                f"{start}for the model to support batching the shape should have at least 1 "
                "dimension and the first dimension must be -1; but shape expected by the model "
                f"is {_shape(has)}"
            )
        full = [-1, *dims]
    same = len(has) == len(full)
    if same:
        for index, size in enumerate(full):
            if exact or has[index] != -1:
                same = same and has[index] == size
    if not same:
        batch = (
            "an initial batch dimension because max_batch_size > 0 followed by the explicit tensor "
            f"shape, making complete shape {_shape(full)}"
        )
        shape = batch if model["max_batch_size"] > 0 else f"shape {_shape(dims)}"
        raise RefusedError(
            f"{start}the model expects {len(has)} dimensions (shape {_shape(has)}) but the model "
            f"configuration specifies {len(full)} dimensions ({shape})"
        )


def _shape(dims: list[int]) -> str:
    return "[" + ",".join(str(size) for size in dims) + "]"
