"""Sequences: control tensors, batches, and the state that the server keeps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trtbuild.check.completed import type_name
from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule

_BOOLEAN = ("CONTROL_SEQUENCE_START", "CONTROL_SEQUENCE_END", "CONTROL_SEQUENCE_READY")
_CORRID = "CONTROL_SEQUENCE_CORRID"
_CORRID_TYPES = {"UINT64", "INT64", "UINT32", "INT32", "BYTES"}
_MOST_SLOTS = 1 << 30  # a slot takes more than a hundred bytes
_VALUES = ("int32_false_true", "fp32_false_true", "bool_false_true")


def _controls(model: Model) -> Iterator[tuple[int, int, str, Any]]:
    """Number of the tensor, number of its control, the control's kind, the control."""
    for tensor, held in enumerate(model.config.sequence_batching.control_input):
        for number, control in enumerate(held.control):
            kind = type(control).DESCRIPTOR.enum_types_by_name["Kind"]
            value = kind.values_by_number.get(control.kind)
            yield tensor, number, value.name if value else str(control.kind), control


@rule(
    "TRT321",
    "every control tensor has its own name",
    fix="give each control_input a name of its own",
    mirrors="GetBooleanSequenceControlProperties",
    bad=(
        "sequence_batching { control_input { control { kind: CONTROL_SEQUENCE_START "
        "int32_false_true: [ 0, 1 ] } } }"
    ),
    good=(
        'sequence_batching { control_input { name: "START" control { kind: CONTROL_SEQUENCE_START '
        "int32_false_true: [ 0, 1 ] } } }"
    ),
)
def control_names(model: Model) -> Problems:
    """The backend finds START, END, READY and CORRID as inputs with these names."""
    seen: set[str] = set()
    for number, tensor in enumerate(model.config.sequence_batching.control_input):
        at = model.at("sequence_batching", 0, "control_input", number, "name")
        if not tensor.name:
            server = f"sequence batching control tensor must have a name for {model.called}"
            yield Problem(f"control_input {number + 1} has no name", at, server=server)
        elif tensor.name in seen:
            yield Problem(
                f"a second control_input is named {tensor.name!r}",
                at,
                server=f"sequence batching control tensor '{tensor.name}' is specified for "
                f"multiple control kinds for {model.called}",
            )
        seen.add(tensor.name)


@rule(
    "TRT322",
    "every kind of control has one tensor",
    fix="remove one of them",
    mirrors="GetBooleanSequenceControlProperties",
    bad=(
        'sequence_batching {\n  control_input { name: "A" control { kind: CONTROL_SEQUENCE_END '
        'int32_false_true: [ 0, 1 ] } }\n  control_input { name: "B" control { kind: '
        "CONTROL_SEQUENCE_END int32_false_true: [ 0, 1 ] } }\n}"
    ),
    good=(
        'sequence_batching {\n  control_input { name: "A" control { kind: CONTROL_SEQUENCE_END '
        "int32_false_true: [ 0, 1 ] } }\n}"
    ),
)
def control_kinds(model: Model) -> Problems:
    """The server fills one tensor for each kind."""
    seen: set[str] = set()
    for tensor, number, kind, _ in _controls(model):
        if kind in seen:
            yield Problem(
                f"a second tensor for {kind}",
                _at(model, tensor, number, "kind"),
                server=f"sequence batching specifies multiple {kind} tensors for {model.called}",
            )
        seen.add(kind)


def _at(model: Model, tensor: int, number: int, field: str) -> Any:
    return model.at("sequence_batching", 0, "control_input", tensor, "control", number, field)


@rule(
    "TRT323",
    "a control of START, END or READY has one pair of values",
    fix="write one of int32_false_true: [ 0, 1 ], fp32_false_true and bool_false_true",
    mirrors="GetBooleanSequenceControlProperties",
    bad=(
        'sequence_batching { control_input { name: "S" control { kind: CONTROL_SEQUENCE_START '
        "int32_false_true: [ 1 ] } } }"
    ),
    good=(
        'sequence_batching { control_input { name: "S" control { kind: CONTROL_SEQUENCE_START '
        "int32_false_true: [ 0, 1 ] } } }"
    ),
)
def control_values(model: Model) -> Problems:
    """The two values that the tensor has when the condition is false and when it is true; their
    type is the tensor's."""
    for tensor, number, kind, control in _controls(model):
        if kind not in _BOOLEAN:
            continue
        given = [name for name in _VALUES if getattr(control, name)]
        ending = f"for {kind} for {model.called}"
        if len(given) != 1:
            how = "specifies more than one from 'int32_false_true', 'fp32_false_true' and"
            none = "must specify either 'int32_false_true', 'fp32_false_true' or"
            yield Problem(
                f"{kind} has {' and '.join(given) or 'no values'}",
                _at(model, tensor, number, "kind"),
                server=f"sequence batching {how if given else none} 'bool_false_true' {ending}",
            )
        elif len(getattr(control, given[0])) != 2:
            yield Problem(
                f"{given[0]} must have two values, not  {list(getattr(control, given[0]))}",
                _at(model, tensor, number, given[0]),
                server=f"sequence batching control '{given[0]}' must have exactly 2 entries "
                f"{ending}",
            )


@rule(
    "TRT324",
    "a control of CORRID has a type that can hold an id",
    fix="write data_type: TYPE_UINT64 and no values",
    mirrors="GetTypedSequenceControlProperties",
    bad=(
        'sequence_batching { control_input { name: "C" '
        "control { kind: CONTROL_SEQUENCE_CORRID } } }"
    ),
    good=(
        'sequence_batching { control_input { name: "C" control { kind: CONTROL_SEQUENCE_CORRID '
        "data_type: TYPE_UINT64 } } }"
    ),
)
def correlation_id(model: Model) -> Problems:
    """The correlation id of a sequence is a number or a string, not true or false."""
    for tensor, number, kind, control in _controls(model):
        if kind != _CORRID:
            continue
        if any(getattr(control, name) for name in _VALUES):
            yield Problem(
                f"{kind} has values for true and false",
                _at(model, tensor, number, "kind"),
                server="sequence batching must not specify either 'int32_false_true', "
                f"'fp32_false_true' or 'bool_false_true' for {kind} for {model.called}",
            )
        if type_name(control.data_type) not in _CORRID_TYPES:
            yield Problem(
                f"{kind} has the type {type_name(control.data_type)}",
                _at(model, tensor, number, "data_type"),
                server=f"unexpected data type for control {kind} for {model.called}. Allowed data "
                "types are TYPE_UINT64, TYPE_INT64, TYPE_UINT32, TYPE_INT32 and TYPE_STRING",
            )


@rule(
    "TRT325",
    "the batch sizes of sequences are within max_batch_size",
    fix="name sizes from 1 to max_batch_size, and a utilization from 0 to 1",
    mirrors="ValidateModelConfig",
    bad="sequence_batching { oldest { preferred_batch_size: [ 16 ] } }",
    good="sequence_batching { oldest { preferred_batch_size: [ 8 ] } }",
)
def sequence_batches(model: Model) -> Problems:
    """The batcher cannot prefer a batch that the model does not take, nor wait for more than all
    of its slots."""
    batching = model.config.sequence_batching
    for number, size in enumerate(batching.oldest.preferred_batch_size):
        if 0 < size <= model.config.max_batch_size:
            continue
        word = "<= max batch size" if size > 0 else "positive"
        yield Problem(
            f"preferred_batch_size {size}, but max_batch_size is {model.config.max_batch_size}",
            model.at("sequence_batching", 0, "oldest", 0, "preferred_batch_size", number),
            server=f"sequence batching preferred batch size must be {word} for {model.called}",
        )
    utilization = batching.direct.minimum_slot_utilization
    if utilization < 0 or utilization > 1:
        yield Problem(
            f"minimum_slot_utilization is {utilization}",
            model.at("sequence_batching", 0, "direct", 0, "minimum_slot_utilization"),
            server="sequence batching minimum slot utilization must be in range (0.0, 1.0] for "
            f"{model.called}",
        )


@rule(
    "TRT326",
    "the number of concurrent sequences is reasonable",
    fix="lower max_candidate_sequences, or max_batch_size",
    mirrors="SequenceBatchScheduler::Create",
    bad="sequence_batching { oldest { max_candidate_sequences: 2000000000 } }",
    good="sequence_batching { oldest { max_candidate_sequences: 64 } }",
)
def sequence_slots(model: Model) -> Problems:
    """The server allocates a slot for each sequence at the start: ``max_candidate_sequences`` of
    the strategy ``oldest``, else ``max_batch_size``. It crashes if the memory is too small, and
    with it every model."""
    if not model.config.HasField("sequence_batching"):
        return
    candidates = model.config.sequence_batching.oldest.max_candidate_sequences
    slots = candidates if candidates > 0 else model.config.max_batch_size
    if slots >= _MOST_SLOTS:
        at = ("sequence_batching", 0, "oldest", 0, "max_candidate_sequences")
        yield Problem(
            f"{slots:,} concurrent sequences",
            model.at(*at) if candidates > 0 else model.at("max_batch_size"),
        )
