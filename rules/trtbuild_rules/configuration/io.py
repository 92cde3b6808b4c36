"""Inputs and outputs: names, types, dimensions, reshapes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trtbuild.check.autofix import Remove
from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.model import Severity
from trtbuild_rules.readers.completion import completes, is_unknown, tensors_of
from trtbuild_rules.readers.graphs.onnxmodel import BACKEND as ONNX


def _said(kind: str, tensor: Any) -> str:
    """What the server calls a tensor, with the blank after it."""
    return f"model {kind} '{tensor.name}' " if tensor.name else f"model {kind} "


_COUNTS_SAFELY = "26.03"  # its release notes: safe GetElementCount
_ONLY_TENSORRT = "is only supported for the TensorRT platform"
_IMAGE_FORMATS = (1, 2)  # FORMAT_NHWC, FORMAT_NCHW


def _doubt(model: Model) -> Severity | None:
    """A warning instead of an error where the backend may complete the tensor first."""
    completing = model.repository.options.auto_complete
    return Severity.WARNING if completing and is_unknown(model) else None


def _tensors(model: Model) -> Iterator[tuple[str, int, Any]]:
    """``("input", 0, ModelInput)`` and so on, outputs last. None of a model whose backend may
    complete them first, when the server lets it, unless it is known how; the ONNX backend fills in
    all or none."""
    config = model.config
    completing = model.repository.options.auto_complete and completes(model)
    if completing and model.backend != ONNX:
        known = tensors_of(model)
        if model.backend != "python" or not known.whole:
            return
        config = known.config
    for kind in ("input", "output"):
        written = len(getattr(model.config, kind))
        for number, tensor in enumerate(getattr(config, kind)[:written]):
            yield kind, number, tensor


@rule(
    "TRT401",
    "every tensor has a name",
    fix='write name: "…"',
    mirrors="ValidateModelIOConfig",
    bad="input [ { data_type: TYPE_FP32 dims: [ 1 ] } ]",
    good='input [ { name: "IN" data_type: TYPE_FP32 dims: [ 1 ] } ]',
)
def named(model: Model) -> Problems:
    """Clients and backends know tensors by name."""
    for kind, number, tensor in _tensors(model):
        if not tensor.name:
            yield Problem(
                f"{kind} {number + 1} has no name",
                model.at(kind, number),
                server=f"model {kind} must specify 'name' for {model.called}",
                severity=_doubt(model),
            )


@rule(
    "TRT402",
    "every tensor has a data type",
    fix="write data_type: TYPE_FP32 (or TYPE_STRING, TYPE_INT64, …)",
    mirrors="ValidateModelIOConfig",
    bad='input [ { name: "IN" dims: [ 1 ] } ]',
    good='input [ { name: "IN" data_type: TYPE_FP32 dims: [ 1 ] } ]',
)
def typed(model: Model) -> Problems:
    """A missing type means TYPE_INVALID."""
    for kind, number, tensor in _tensors(model):
        if tensor.name and not tensor.data_type:
            yield Problem(
                f"{kind} {tensor.name!r} has no data type",
                model.at(kind, number, "data_type"),
                server=f"{_said(kind, tensor)}must specify 'data_type' for {model.called}",
                severity=_doubt(model),
            )


@rule(
    "TRT403",
    "every tensor has dimensions",
    fix="write dims: [ … ] without the batch dimension, -1 for any size",
    mirrors="ValidateModelIOConfig",
    bad='input [ { name: "IN" data_type: TYPE_FP32 } ]',
    good='input [ { name: "IN" data_type: TYPE_FP32 dims: [ 1 ] } ]',
)
def dimensioned(model: Model) -> Problems:
    """``dims`` may be left out for a backend that completes the configuration only."""
    for kind, number, tensor in _tensors(model):
        if tensor.name and tensor.data_type and not tensor.dims:
            yield Problem(
                f"{kind} {tensor.name!r} has no dims",
                model.at(kind, number),
                server=f"{_said(kind, tensor)}must specify 'dims' for {model.called}",
                severity=_doubt(model),
            )


@rule(
    "TRT404",
    "dimensions are at least 1, or -1",
    fix="use -1 for a size that varies",
    mirrors="ValidateModelIOConfig",
    bad='input [ { name: "IN" data_type: TYPE_FP32 dims: [ 0 ] } ]',
    good='input [ { name: "IN" data_type: TYPE_FP32 dims: [ -1 ] } ]',
)
def dimension_sizes(model: Model) -> Problems:
    """A dimension of 0 is empty, and values below -1 have no meaning."""
    for kind, number, tensor in _tensors(model):
        for field, sizes in (("dims", tensor.dims), ("reshape", tensor.reshape.shape)):
            word = "dimension" if field == "dims" else "reshape dimensions"
            for index, size in enumerate(sizes):
                if size < 1 and size != -1:
                    path = ("dims", index) if field == "dims" else ("reshape", 0, "shape", index)
                    yield Problem(
                        f"{kind} {tensor.name!r} has a {word.rstrip('s')} of {size}",
                        model.at(kind, number, *path),
                        server=f"{_said(kind, tensor)}{word} must be integer >= 1, or -1 to "
                        f"indicate a variable-size dimension for {model.called}",
                    )


@rule(
    "TRT405",
    "a reshape keeps the number of elements",
    fix="give dims and reshape the same product and the same number of -1",
    mirrors="ValidateModelIOConfig",
    bad='input [ { name: "IN" data_type: TYPE_FP32 dims: [ 6 ] reshape { shape: [ 2, 2 ] } } ]',
    good='input [ { name: "IN" data_type: TYPE_FP32 dims: [ 6 ] reshape { shape: [ 2, 3 ] } } ]',
)
def reshape(model: Model) -> Problems:
    """``reshape`` changes the shape that a backend sees, not the amount of data."""
    for kind, number, tensor in _tensors(model):
        if not tensor.HasField("reshape"):
            continue
        problem = _reshape_problem(tensor, batching=model.config.max_batch_size > 0)
        if problem:
            yield Problem(
                f"{kind} {tensor.name!r} has dims {list(tensor.dims)} and reshape "
                f"{list(tensor.reshape.shape)}",
                model.at(kind, number, "reshape", name=True),
                server=f"{_said(kind, tensor)}{problem} for {model.called}",
            )
        elif _too_many(tensor) and not (model.triton and model.triton < _COUNTS_SAFELY):
            yield Problem(
                f"{kind} {tensor.name!r} has more elements than a 64-bit number can count",
                model.at(kind, number, "dims"),
                server=f"element count for tensor '{tensor.name} dims' exceeds maximum size of "
                f"{2**63 - 1} for {model.called}",
            )


def _too_many(tensor: Any) -> bool:
    return -1 not in tensor.dims and _products(list(tensor.dims))[0] >= 2**63


def _reshape_problem(tensor: Any, *, batching: bool) -> str:
    dims, shape = list(tensor.dims), list(tensor.reshape.shape)
    if not shape and not batching:
        return (
            "cannot have empty reshape for non-batching model as scalar tensors are not supported"
        )
    if any(size < 1 and size != -1 for size in (*dims, *shape)):
        return ""  # another rule's
    if dims.count(-1) != shape.count(-1) and -1 in dims and -1 in shape:
        return "has different number of variable-size dimensions for dims and reshape"
    if _products(dims) != _products(shape):
        return "has different size for dims and reshape"
    return ""


def _products(sizes: list[int]) -> list[int]:
    """The elements of each stretch between variable dimensions, which must agree one by one."""
    products = [1]
    for size in sizes:
        if size == -1:
            products.append(1)
        else:
            products[-1] *= size
    return products


@rule(
    "TRT406",
    "an image format has three dimensions",
    fix="give dims three sizes, or remove 'format'",
    mirrors="ValidateModelIOConfig",
    bad='input [ { name: "IN" data_type: TYPE_UINT8 format: FORMAT_NHWC dims: [ 224, 224 ] } ]',
    good='input [ { name: "IN" data_type: TYPE_UINT8 format: FORMAT_NHWC dims: [ 224, 224, 3 ] } ]',
)
def image_format(model: Model) -> Problems:
    """NHWC and NCHW name three dimensions (the batch is not among dims)."""
    for kind, number, tensor in _tensors(model):
        if kind == "input" and tensor.format in _IMAGE_FORMATS and len(tensor.dims) != 3:
            yield Problem(
                f"input {tensor.name!r} has a format and {len(tensor.dims)} dims",
                model.at("input", number, "format"),
                server=f"model input NHWC/NCHW require 3 dims for {model.called}",
            )


@rule(
    "TRT407",
    "shape tensors and non-linear formats are for TensorRT",
    fix="remove the field",
    mirrors="ValidateModelIOConfig",
    autofix=Remove(),
    bad='input [ { name: "IN" data_type: TYPE_INT32 dims: [ 1 ] is_shape_tensor: true } ]',
    good='input [ { name: "IN" data_type: TYPE_INT32 dims: [ 1 ] } ]',
)
def tensorrt_only(model: Model) -> Problems:
    """Only TensorRT engines know these; a non-linear format has three dimensions."""
    tensorrt = model.completed.platform == "tensorrt_plan"
    for kind, number, tensor in _tensors(model):
        if tensor.is_shape_tensor and not tensorrt:
            yield Problem(
                f"{kind} {tensor.name!r} has is_shape_tensor",
                model.at(kind, number, "is_shape_tensor"),
                server=f"shape tensors are only supported for TensorRT platform for {model.called}",
            )
        if tensor.is_non_linear_format_io and not (tensorrt and len(tensor.dims) == 3):
            words = f"{kind} requires 3 dims" if tensorrt else _ONLY_TENSORRT
            yield Problem(
                f"{kind} {tensor.name!r} has is_non_linear_format_io",
                model.at(kind, number, "is_non_linear_format_io"),
                server=f"Non-linear IO format {words} for {model.called}",
            )


@rule(
    "TRT408",
    "no two tensors of a kind share a name",
    fix="rename one of them",
    severity=Severity.WARNING,
    bad="""\
input [
  { name: "A" data_type: TYPE_FP32 dims: [ 1 ] },
  { name: "A" data_type: TYPE_FP32 dims: [ 1 ] }
]""",
    good="""\
input [
  { name: "A" data_type: TYPE_FP32 dims: [ 1 ] },
  { name: "B" data_type: TYPE_FP32 dims: [ 1 ] }
]""",
)
def unique_names(model: Model) -> Problems:
    """Triton loads such a model; requests then reach only one of the two."""
    seen: set[tuple[str, str]] = set()
    for kind, number, tensor in _tensors(model):
        if tensor.name and (kind, tensor.name) in seen:
            yield Problem(
                f"a second {kind} is named {tensor.name!r}", model.at(kind, number, "name")
            )
        seen.add((kind, tensor.name))
