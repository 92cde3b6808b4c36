"""Warm-up: requests that the server makes itself before a model counts as ready."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trtbuild.check.completed import MOST_BYTES, element_count, element_size, shown, type_name
from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.located.positions import Position
from trtbuild_rules.readers.datafiles import joined, size_of

_WARMUP = 'model_warmup {{ name: "w" batch_size: 1\n  inputs {{ key: "IN" value {{ {} }} }} }}'
_GOOD = _WARMUP.format("data_type: TYPE_FP32 dims: [ 1 ] zero_data: true")


def _warmups(model: Model) -> Iterator[tuple[int, Any]]:
    """Number and settings of every warm-up that is run."""
    groups = model.config.instance_group
    if model.completed.platform == "ensemble" or (groups and all(g.passive for g in groups)):
        return
    for number, warmup in enumerate(model.config.model_warmup):
        if warmup.batch_size:
            yield number, warmup


def _inputs(model: Model) -> Iterator[tuple[str, Any, Position]]:
    """Name, settings and place of every input of a warm-up."""
    for number, warmup in _warmups(model):
        for name in warmup.inputs:
            at = model.positions.entry("model_warmup", number, "inputs", key=name)
            yield name, warmup.inputs[name], at


@rule(
    "TRT341",
    "a warm-up gives the sizes and the data of its inputs",
    fix="write dims without -1 and one of zero_data, random_data and input_data_file",
    mirrors="GenerateWarmupData",
    bad=_WARMUP.format("data_type: TYPE_FP32 dims: [ -1 ] zero_data: true"),
    good=_GOOD,
)
def warmup_is_complete(model: Model) -> Problems:
    """The server builds the request from these settings, so each must be given."""
    for name, given, at in _inputs(model):
        if -1 in given.dims:
            yield Problem(
                f"the warm-up's input {name!r} has dims {list(given.dims)}",
                at,
                server="warmup setting expects all variable-size dimensions are specified for "
                f"input '{name}'",
            )
        if given.WhichOneof("input_data_type") is None:
            yield Problem(
                f"the warm-up's input {name!r} has no data",
                at,
                server=f"warmup setting expects input '{name}' to have input_data_type set",
            )


@rule(
    "TRT344",
    "the data of a warm-up fits into memory",
    fix="write the sizes of a real request",
    mirrors="GenerateWarmupData",
    bad=_WARMUP.format("data_type: TYPE_FP32 dims: [ 10000000000000 ] zero_data: true"),
    good=_GOOD,
)
def warmup_size(model: Model) -> Problems:
    """The server generates the data at once. Without enough memory it crashes, and with it every
    model."""
    for name, given, at in _inputs(model):
        made = given.WhichOneof("input_data_type") in ("zero_data", "random_data")
        needed = element_count(given.dims) * (element_size(given.data_type) or 4)
        if made and needed > MOST_BYTES:
            yield Problem(f"the warm-up's input {name!r} has {needed:,} bytes", at)


@rule(
    "TRT342",
    "the data of a warm-up exists",
    fix="put the file, with enough bytes, into the directory 'warmup' of the model",
    mirrors="GenerateWarmupData",
    bad=_WARMUP.format('data_type: TYPE_FP32 dims: [ 1 ] input_data_file: "absent"'),
    good=_GOOD,
)
def warmup_data(model: Model) -> Problems:
    """``input_data_file`` names a file in the model's directory ``warmup``, beside the versions."""
    for name, given, at in _inputs(model):
        if given.WhichOneof("input_data_type") != "input_data_file":
            continue
        file = joined("warmup", given.input_data_file)
        try:
            size = size_of(model, file)
        except OSError as error:
            server = f"failed to open text file for read {file}: {error.strerror}"
            yield Problem(f"{file} cannot be read", at, server=server)
            continue
        width = element_size(given.data_type) or 4
        wanted = element_count(given.dims) * width
        if size < wanted and type_name(given.data_type) != "BYTES":
            yield Problem(
                f"{file} has {size} bytes, but the input {name!r} needs {wanted}",
                at,
                server=f"warmup setting expects {wanted} bytes, but the data provided from "
                f"{given.input_data_file}only has {size} bytes",
            )


@rule(
    "TRT343",
    "a warm-up is a request that the model accepts",
    fix="give every required input, with its type and dims (without the batch)",
    mirrors="InferenceRequest::Normalize",
    bad=_WARMUP.format("data_type: TYPE_FP32 dims: [ 2 ] zero_data: true"),
    good=_GOOD,
)
def warmup_fits(model: Model) -> Problems:
    """The request is checked like a client's. The batch dimension is added by the server."""
    tensors = {tensor.name: tensor for tensor in reversed(model.config.input)}
    for name, given, at in _inputs(model):
        if name in tensors:
            server = _mismatch(model, tensors[name], given)
            if server:
                message = f"the warm-up's input {name!r} does not fit the model's"
                yield Problem(message, at, server=server)
    for number, warmup in _warmups(model):
        server = _count_problem(model, sum(name in tensors for name in warmup.inputs))
        if server:
            message = f"the warm-up {warmup.name!r} has not the inputs that the model needs"
            yield Problem(message, model.at("model_warmup", number, name=True), server=server)


def _mismatch(model: Model, tensor: Any, sample: Any) -> str:
    if sample.data_type != tensor.data_type:
        return (
            f"inference input '{tensor.name}' data-type is '{type_name(sample.data_type)}', but "
            f"model '{model.name}' expects '{type_name(tensor.data_type)}'"
        )
    wanted, dims = list(tensor.dims), list(sample.dims)
    if any(size < -1 for size in dims) and _fits(wanted, dims):
        return f"input byte size mismatch for input '{tensor.name}' for model '{model.name}'."
    batched = model.config.max_batch_size > 0
    if _fits(wanted, dims) or (batched and tensor.is_shape_tensor):
        return ""
    return (
        f"unexpected shape for input '{tensor.name}' for model '{model.name}'. Expected "
        f"{shown([-1, *wanted] if batched else wanted)}, got "
        f"{shown([1, *dims] if batched else dims)}"
    )


def _fits(expected: list[int], dims: list[int]) -> bool:
    return len(expected) == len(dims) and all(map(lambda w, d: w in (-1, d), expected, dims))


def _count_problem(model: Model, count: int) -> str:
    most = len(model.config.input)
    least = sum(not tensor.optional for tensor in model.config.input)
    if least <= count <= most:
        return ""
    number = f"{most}" if least == most else f"number of inputs between {least} and {most}"
    word = " inputs" if least == most else ""
    return f"expected {number}{word} but got {count} inputs for model '{model.name}'"
