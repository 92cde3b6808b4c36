"""Batch inputs and outputs: tensors that the server makes of a ragged batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trtbuild.check.completed import type_name
from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild_rules.readers.completion import tensors_of

_BATCH = 'batch_input {{ kind: BATCH_ELEMENT_COUNT target_name: "N" data_type: TYPE_{} {} }}'


def _batches(model: Model) -> Iterator[tuple[str, int, Any]]:
    """``("batch_input", 0, BatchInput)`` and so on."""
    for field in ("batch_input", "batch_output"):
        for number, batch in enumerate(getattr(model.config, field)):
            yield field, number, batch


def _names(model: Model, kind: str) -> set[str] | None:
    """The names of its inputs or outputs, None where a backend adds some that are not known."""
    tensors = tensors_of(model)
    return {tensor.name for tensor in getattr(tensors.config, kind)} if tensors.whole else None


@rule(
    "TRT411",
    "a batch input or output has one source",
    fix="name one source_input, one of the model's inputs",
    mirrors="ValidateBatchIO",
    bad=_BATCH.format("FP32", 'source_input: [ "IN", "IN" ]'),
    good=_BATCH.format("FP32", 'source_input: "IN"'),
)
def one_source(model: Model) -> Problems:
    """Every kind of batch input counts or copies the elements of one input."""
    inputs = _names(model, "input")
    for field, number, batch in _batches(model):
        at = model.at(field, number, "source_input")
        kinds = type(batch).DESCRIPTOR.enum_types_by_name["Kind"].values_by_number
        word = field.replace("_", " ")
        kind = kinds[batch.kind].name if batch.kind in kinds else ""
        if not kind:
            server = f"unknown {word} kind '' for {model.called}"
            yield Problem(f"unknown kind {batch.kind}", at, server=server)
        elif len(batch.source_input) != 1:
            yield Problem(
                f"{field} {number + 1} has {len(batch.source_input)} sources",
                at,
                server=f"{word} kind '{kind}' expects 1 source input, got "
                f"{len(batch.source_input)} for {model.called}",
            )
        for index, name in enumerate(batch.source_input):
            if inputs is not None and name not in inputs:
                yield Problem(
                    f"there is no input {name!r}",
                    model.at(field, number, "source_input", index),
                    server=f"unknown source input name '{name}' for {model.called}",
                )


@rule(
    "TRT412",
    "a batch input is INT32 or FP32",
    fix="write data_type: TYPE_INT32 or TYPE_FP32",
    mirrors="ValidateBatchIO",
    bad=_BATCH.format("INT64", 'source_input: "IN"'),
    good=_BATCH.format("INT32", 'source_input: "IN"'),
)
def batch_input_type(model: Model) -> Problems:
    """The server writes counts in these two types only."""
    for number, batch in enumerate(model.config.batch_input):
        name = type_name(batch.data_type)
        if name not in ("INT32", "FP32"):
            yield Problem(
                f"batch_input {number + 1} has the type {name}",
                model.at("batch_input", number, "data_type"),
                server=f"batch input data type must be TYPE_INT32 or TYPE_FP32 for {model.called}",
            )


@rule(
    "TRT413",
    "a batch output names outputs, each once",
    fix="name the model's outputs in target_name, each once",
    mirrors="ValidateBatchIO",
    bad='batch_output { target_name: "absent" source_input: "IN" }',
    good='batch_output { target_name: "OUT" source_input: "IN" }',
)
def batch_targets(model: Model) -> Problems:
    """The server splits these outputs by the requests of the batch."""
    outputs = _names(model, "output")
    for number, batch in enumerate(model.config.batch_output):
        seen: set[str] = set()
        for index, name in enumerate(batch.target_name):
            at = model.at("batch_output", number, "target_name", index)
            if outputs is not None and name not in outputs:
                server = f"unknown target output name '{name}' for {model.called}"
                yield Problem(f"there is no output {name!r}", at, server=server)
            elif name in seen:
                yield Problem(
                    f"{name!r} is named twice",
                    at,
                    server=f"target output name '{name}' can only be specified once for "
                    f"{model.called}",
                )
            seen.add(name)
