"""Tensors between the members of an ensemble: names, types, shapes, and who answers how often.

The server's functions are in triton-inference-server/core, src/ensemble_utils.cc.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from trtbuild import pbtxt
from trtbuild.check.completed import shown
from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import Example
from trtbuild_rules.ensembles.members import sound_members
from trtbuild_rules.readers.completion import Tensors, tensors_of

_SOUND = Example(base="ensemble")
_IO = (
    'input [ {{ name: "IN" data_type: {} dims: [ 1 ] }} ]\n'
    'output [ {{ name: "OUT" data_type: TYPE_FP32 dims: [ 1 ] }} ]'
)


@rule(
    "TRT376",
    "the maps of a step name the inputs and outputs of its model",
    fix="map every input of the model, and only inputs and outputs that it has",
    mirrors="ValidateTensorMapping",
    bad=Example(
        files={
            "b/config.pbtxt": 'name: "b" backend: "python" max_batch_size: 8\n'
            'input [ { name: "X" data_type: TYPE_FP32 dims: [ 1 ] } ]\n'
            'output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 1 ] } ]'
        },
        base="ensemble",
    ),
    good=_SOUND,
)
def mapping(model: Model) -> Problems:
    """The keys of both maps are names of the member's tensors. An input may be left out if it is
    optional. Tensors that the server completes count; those that the files do not show are
    not required."""
    for number, step, member in sound_members(model):
        place = ("ensemble_scheduling", 0, "step", number)
        for key, message, server in _mapping_problems(step, member):
            held = "output_map" if "output" in message else "input_map"
            yield Problem(
                message,
                model.positions.entry(*place, held, key=key),
                server=f"in ensemble {model.name}, {server}",
            )


def _mapping_problems(step: Any, member: Model) -> Iterator[tuple[str, str, str]]:
    """Key, message, and the server's words."""
    name = step.model_name
    known = tensors_of(member)
    inputs = {tensor.name: tensor for tensor in reversed(known.config.input)}
    for key, tensor in step.input_map.items():
        if key not in inputs and known.whole:
            words = f"ensemble tensor {tensor} is mapping to non-existing input {key} in model "
            yield key, f"{name!r} has no input {key!r}", words + name
    for key in inputs:
        optional = all(each.optional for each in known.config.input if each.name == key)
        if key not in step.input_map and not optional:
            words = f"input {key} in model {name} is not mapped to any ensemble tensors"
            yield key, f"the input {key!r} of {name!r} is not mapped", words
    outputs = [tensor.name for tensor in known.config.output]
    for key, tensor in step.output_map.items():
        if key not in outputs and known.whole:
            words = f"ensemble tensor {tensor} is mapped from non-existing output {key} in model "
            yield key, f"{name!r} has no output {key!r}", words + name
        elif outputs.count(key) > 1:
            words = f"multiple outputs in model {name} are mapped to the same ensemble tensor "
            yield key, f"{name!r} has the output {key!r} twice", words + tensor


@dataclass(frozen=True, slots=True)
class _Kind:
    """Type and shape of a tensor, and the model that they are known from; None: not known."""

    owner: str
    data_type: int | None
    dims: tuple[int, ...] | None
    batching: bool | None

    def full(self, *, batching: bool) -> tuple[int, ...]:
        dims = self.dims or ()
        return (-1, *dims) if batching else dims

    def differs(self, other: _Kind) -> str:
        """The server's words, empty if both can be one tensor."""
        if None not in (self.data_type, other.data_type) and self.data_type != other.data_type:
            what = "data type"
            here, there = (pbtxt.data_type_name(kind.data_type or 0) for kind in (self, other))
        elif None not in (self.dims, other.dims) and not self._fits(other):
            batching = bool(self.batching), bool(other.batching)
            what = "shape"
            here, there = (
                shown(kind.full(batching=batch))
                for kind, batch in zip((self, other), batching, strict=True)
            )
        else:
            return ""
        return (
            f"inconsistent {what}: {here} is inferred from model {self.owner} while {there} is "
            f"inferred from model {other.owner}"
        )

    def _fits(self, other: _Kind) -> bool:
        """Whether the shapes agree as they are, or with the batches that the models may have."""
        if _same(self.dims or (), other.dims or ()):
            return True
        return any(
            _same(self.full(batching=here), other.full(batching=there))
            for here in _either(self.batching)
            for there in _either(other.batching)
        )


def _either(known: bool | None) -> tuple[bool, ...]:
    return (False, True) if known is None else (known,)


def _same(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    return len(first) == len(second) and all(
        a == b or -1 in (a, b) for a, b in zip(first, second, strict=True)
    )


def _uses(model: Model) -> Iterator[tuple[int, str, str, _Kind]]:
    """Step, its map, tensor and kind, wherever a member uses or writes a tensor."""
    for number, step, member in sound_members(model):
        known = tensors_of(member)
        for held, tensors in (
            ("input_map", known.config.input),
            ("output_map", known.config.output),
        ):
            names = getattr(step, held)
            for tensor in tensors:
                if tensor.name in names:
                    yield number, held, names[tensor.name], _kind(step.model_name, tensor, known)


def _kind(owner: str, tensor: Any, known: Tensors) -> _Kind:
    dims, data_type = tuple(tensor.dims), int(tensor.data_type)
    return _Kind(
        owner,
        data_type if data_type or known.filled else None,
        dims if dims or known.filled else None,
        True if known.config.max_batch_size > 0 else False if known.batch_known else None,
    )


@rule(
    "TRT377",
    "a tensor of an ensemble has one type and shape",
    fix="give both models the same data_type and dims, or -1 where a size varies",
    mirrors="ValidateTensorMapping",
    bad=Example(
        files={
            "b/config.pbtxt": 'name: "b" backend: "python" max_batch_size: 8\n'
            + _IO.format("TYPE_INT64")
        },
        base="ensemble",
    ),
    good=_SOUND,
)
def kinds_agree(model: Model) -> Problems:
    """The next model reads what the previous one writes. -1 agrees with every size; a model that
    batches agrees with one that does not, if that has the batch among its dims."""
    known: dict[str, _Kind] = {}
    batching = model.config.max_batch_size > 0
    for tensor in (*model.config.input, *model.config.output) if model.is_ensemble else ():
        dims = tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims
        kind = _Kind(model.name, tensor.data_type, tuple(dims), batching)
        known.setdefault(tensor.name, kind)
    for number, held, name, kind in _uses(model):
        first = known.get(name)
        if first is None or (first.data_type is None and first.dims is None):
            known[name] = kind
        elif differs := first.differs(kind):
            yield Problem(
                f"the tensor {name!r}: {differs}",
                model.at("ensemble_scheduling", 0, "step", number, held, name=True),
                server=f"in ensemble {model.name}, ensemble tensor {name}: {differs}",
            )


@dataclass(eq=False)
class _Flow:
    """A tensor, and which decoupled step it comes from (0: none)."""

    before: list[_Flow] = field(default_factory=list)
    after: list[_Flow] = field(default_factory=list)
    step: int = -1
    decoupled: bool = False
    label: int = 0
    seen: bool = False


@rule(
    "TRT378",
    "no step joins two decoupled models",
    fix="connect the inputs of a step to one decoupled model only",
    mirrors="ValidateEnsembleConfig",
    bad=Example(
        'output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 1 ] },\n'
        '  { name: "between" data_type: TYPE_FP32 dims: [ 1 ] } ]',
        {
            f"{name}/config.pbtxt": f'name: "{name}" backend: "python" max_batch_size: 8\n'
            "model_transaction_policy { decoupled: true }\n" + _IO.format("TYPE_FP32")
            for name in "ab"
        },
        base="ensemble",
    ),
    good=_SOUND,
)
def decoupled(model: Model) -> Problems:
    """A decoupled model may answer any number of times, so the answers of two cannot be paired. All
    outputs of the ensemble count as one step."""
    if not _follow(model)[1]:
        yield Problem(
            "a step, or the outputs together, receive tensors of different decoupled models",
            model.at("ensemble_scheduling", name=True),
            server=f"in ensemble {model.name}, step of model '",
        )


@rule(
    "TRT379",
    "a cached ensemble has no decoupled model",
    fix="remove response_cache",
    mirrors="Model::Init",
    bad=Example(
        "response_cache { enable: true }",
        {
            "a/config.pbtxt": 'name: "a" backend: "python" max_batch_size: 8\n'
            "model_transaction_policy { decoupled: true }\n" + _IO.format("TYPE_FP32")
        },
        base="ensemble",
    ),
    good=Example("response_cache { enable: true }", base="ensemble"),
)
def cached(model: Model) -> Problems:
    """An ensemble over a decoupled model is decoupled, too."""
    if not (model.is_ensemble and model.config.response_cache.enable):
        return
    if not model.config.model_transaction_policy.decoupled and _follow(model) == (True, True):
        yield Problem(
            "response_cache is on, but a member is decoupled",
            model.at("response_cache", "enable"),
            server=f"Response Cache does not currently support model {model.called} with "
            "'decoupled' transaction policy. Please disable the response cache.",
        )


def _is_decoupled(member: Model) -> bool:
    if member.is_ensemble:
        return _follow(member)[0]
    return bool(member.config.model_transaction_policy.decoupled)


def _follow(model: Model) -> tuple[bool, bool]:
    """Whether an ensemble is decoupled, and whether every step can pair its inputs."""
    flows: dict[str, _Flow] = {}
    sink = _Flow(before=[flows.setdefault(o.name, _Flow()) for o in model.config.output])
    for flow in sink.before:
        flow.after.append(sink)
    for number, step, member in sound_members(model):
        given = [flows.setdefault(name, _Flow()) for name in step.input_map.values()]
        for name in step.output_map.values():
            made = flows.setdefault(name, _Flow())
            made.step, made.decoupled = number, _is_decoupled(member)
            made.before += given
            for flow in given:
                flow.after.append(made)
    labels: dict[int, int] = {}
    waiting = [flows[i.name] for i in model.config.input if i.name in flows]
    for flow in waiting:
        flow.seen = True
    while waiting:
        for flow in waiting.pop(0).after:
            if flow.seen or not all(each.seen for each in flow.before):
                continue
            if len({each.label for each in flow.before}) > 1:
                return True, False
            new = len(labels) + 1 if flow.decoupled else flow.before[0].label
            flow.label = labels.setdefault(flow.step, new) if flow.decoupled else new
            flow.seen = True
            waiting.append(flow)
    return bool(labels), True
