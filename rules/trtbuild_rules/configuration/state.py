"""State: what the server keeps between the requests of a sequence, and how it starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trtbuild.check.completed import MOST_BYTES, element_count, element_size
from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild_rules.readers.datafiles import joined, size_of

_STATE = (
    'sequence_batching {{ oldest {{ }}\n  state {{ input_name: "I" output_name: "O" '
    "data_type: TYPE_INT32 dims: [ 1 ]\n    initial_state {{ {} }} }}\n}}"
)


def _initial(model: Model) -> Iterator[tuple[int, Any, Any]]:
    """Number of a state, the state, its one initial state."""
    for number, state in enumerate(model.config.sequence_batching.state):
        if len(state.initial_state) == 1:
            yield number, state, state.initial_state[0]


def _at(model: Model, number: int, field: str) -> Any:
    return model.at("sequence_batching", 0, "state", number, "initial_state", 0, field)


@rule(
    "TRT331",
    "a state has one initial state at most",
    fix="keep one initial_state, and give every state an input_name of its own",
    mirrors="SequenceBatchScheduler::Create",
    bad=(
        'sequence_batching { state { input_name: "I" output_name: "O" data_type: TYPE_INT32 '
        'dims: [ 1 ]\n  initial_state { name: "a" } initial_state { name: "b" } } }'
    ),
    good=_STATE.format('name: "a" data_type: TYPE_INT32 dims: [ 1 ] zero_data: true'),
)
def one_initial_state(model: Model) -> Problems:
    """A state has at most one initial state; without one it starts with zeros of unknown shape."""
    seen: set[str] = set()
    for number, state in enumerate(model.config.sequence_batching.state):
        at = model.at("sequence_batching", 0, "state", number, "initial_state", 1)
        if len(state.initial_state) > 1:
            yield Problem(
                f"{len(state.initial_state)} initial states of {state.input_name!r}",
                at,
                server=f"initial_state field for state input '{state.input_name}' must contain "
                f"exactly one or zero element. Found '{len(state.initial_state)}' elements.",
            )
        elif state.initial_state and state.input_name in seen:
            yield Problem(
                f"a second state is named {state.input_name!r}",
                model.at("sequence_batching", 0, "state", number, "input_name"),
                server=f"State input name '{state.input_name}' specified more than once.",
            )
        if state.initial_state:
            seen.add(state.input_name)


@rule(
    "TRT332",
    "an initial state has its state's type and shape",
    fix="write a name, the state's data_type, and its dims with a number for every -1",
    mirrors="GenerateInitialStateData",
    bad=_STATE.format('name: "a" data_type: TYPE_FP32 dims: [ 1 ] zero_data: true'),
    good=_STATE.format('name: "a" data_type: TYPE_INT32 dims: [ 1 ] zero_data: true'),
)
def initial_state_fits(model: Model) -> Problems:
    """The initial value of a sequence must be a possible value of the state."""
    for number, state, initial in _initial(model):
        if initial.data_type != state.data_type:
            yield Problem(
                f"the initial state of {state.input_name!r} has another type",
                _at(model, number, "data_type"),
                server="The data type used for 'initial_state' field of state "
                f"'{state.input_name}' does not match the state data type.",
            )
        if not initial.name:
            yield Problem(
                f"the initial state of {state.input_name!r} has no name",
                _at(model, number, "name"),
                server="Field 'name' must be set when using initial_state for state input "
                f"'{state.input_name}'.",
            )
        server = _shape_problem(state, initial)
        if server:
            yield Problem(
                f"the initial state of {state.input_name!r} has dims {list(initial.dims)}, the "
                f"state {list(state.dims)}",
                _at(model, number, "dims"),
                server=server,
            )


def _shape_problem(state: Any, initial: Any) -> str:
    name = state.input_name
    if len(initial.dims) != len(state.dims):
        return (
            "Number of dimensions in 'initial_state' doesn't match the size of 'state' dimensions "
            f"for state input '{name}'. {len(initial.dims)} != {len(state.dims)}"
        )
    for given, wanted in zip(initial.dims, state.dims, strict=True):
        if given == -1:
            return f"'initial_state' field for state input name '{name}' contains variable dim"
        if wanted not in (-1, given):
            return (
                f"'initial_state' dim for input name '{name}' doesn't match 'state' dim "
                f"description. {given} != {wanted}"
            )
    return ""


@rule(
    "TRT334",
    "the dimensions of an initial state are sizes",
    fix="write sizes of at least 1 that fit into memory",
    mirrors="GenerateInitialStateData",
    bad=_STATE.format('name: "a" data_type: TYPE_INT32 dims: [ -2 ] zero_data: true'),
    good=_STATE.format('name: "a" data_type: TYPE_INT32 dims: [ 1 ] zero_data: true'),
)
def initial_state_sizes(model: Model) -> Problems:
    """The server allocates this many bytes. A negative number, or more memory than there is,
    crashes it, and with it every model."""
    for number, state, initial in _initial(model):
        if element_count(initial.dims) * element_size(initial.data_type) > MOST_BYTES:
            message = f"the initial state of {state.input_name!r} does not fit into memory"
            yield Problem(message, _at(model, number, "dims"))
        for index, size in enumerate(initial.dims):
            if size < -1:
                yield Problem(
                    f"the initial state of {state.input_name!r} has a dimension of {size}",
                    model.at(
                        "sequence_batching", 0, "state", number, "initial_state", 0, "dims", index
                    ),
                )


@rule(
    "TRT333",
    "an initial state has data",
    fix="write zero_data: true, or put the file into the model's directory initial_state",
    mirrors="GenerateInitialStateData",
    bad=_STATE.format('name: "a" data_type: TYPE_INT32 dims: [ 1 ]'),
    good=_STATE.format('name: "a" data_type: TYPE_INT32 dims: [ 1 ] zero_data: true'),
)
def initial_state_data(model: Model) -> Problems:
    """Either zeros, or the bytes of a file in ``initial_state``, enough of them."""
    for number, state, initial in _initial(model):
        choice = initial.WhichOneof("state_data")
        if choice is None:
            yield Problem(
                f"the initial state of {state.input_name!r} has no data",
                _at(model, number, "name"),
                server=f"initial_state setting expects state'{state.input_name}' to have "
                "state_data set",
            )
        if choice != "data_file":
            continue
        file = joined("initial_state", initial.data_file)
        try:
            size = size_of(model, file)
        except OSError:
            yield Problem(
                f"{file} cannot be read",
                _at(model, number, "data_file"),
                server=f"failed to open text file for read {file}",
            )
            continue
        wanted = element_count(initial.dims) * element_size(initial.data_type)
        if size < wanted:
            yield Problem(
                f"{file} has {size} bytes and needs {wanted}",
                _at(model, number, "data_file"),
                server=f"initial_state setting expects {wanted} bytes, but the data provided from "
                f"{initial.data_file}only has {size} bytes.",
            )
