"""Ensembles: the graph of tensors in one ensemble, before its members are looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import Example
from trtbuild.check.model import Severity
from trtbuild.located.positions import Position

_SOUND = Example(base="ensemble")


def _steps(inputs: str, outputs: str, more: str = "") -> Example:
    """An ensemble of one step of the model a."""
    return Example(
        f'ensemble_scheduling {{ step [ {{ model_name: "a" model_version: -1\n'
        f'  input_map {{ key: "IN" value: "{inputs}" }}\n'
        f'  output_map {{ key: "OUT" value: "{outputs}" }} }}{more} ] }}',
        base="ensemble",
    )


@dataclass(eq=False)
class _GraphTensor:
    """A tensor inside an ensemble: which it is computed from, which are computed from it."""

    before: list[_GraphTensor] = field(default_factory=list)
    after: list[_GraphTensor] = field(default_factory=list)
    written: bool = False
    ready: bool = False


def _graph(model: Model) -> dict[str, _GraphTensor]:
    """The tensors by name; all that can be computed from the ensemble's inputs are ready."""
    tensors: dict[str, _GraphTensor] = {}
    for step in model.config.ensemble_scheduling.step:
        made = [tensors.setdefault(name, _GraphTensor()) for name in step.output_map.values()]
        for tensor in made:
            tensor.written = True
        for name in step.input_map.values():
            given = tensors.setdefault(name, _GraphTensor())
            given.after += made
            for tensor in made:
                tensor.before.append(given)
    waiting = [tensors[i.name] for i in model.config.input if i.name in tensors]
    for tensor in waiting:
        tensor.ready = True
    while waiting:
        for tensor in waiting.pop(0).after:
            if not tensor.ready and all(each.ready for each in tensor.before):
                tensor.ready = True
                waiting.append(tensor)
    return tensors


@rule(
    "TRT361",
    "an ensemble has neither optimization nor warm-up",
    fix="set them in the members",
    mirrors="ValidateEnsembleSchedulingConfig",
    bad=Example("optimization { priority: PRIORITY_MAX }", base="ensemble"),
    good=_SOUND,
)
def only_a_graph(model: Model) -> Problems:
    """An ensemble runs nothing itself."""
    if not model.is_ensemble:
        return
    if model.config.HasField("optimization"):
        yield Problem(
            "an ensemble with optimization",
            model.at("optimization", name=True),
            server=f"optimization should not be specified for ensemble '{model.called}'",
        )
    if model.config.model_warmup:
        yield Problem(
            "an ensemble with model_warmup",
            model.at("model_warmup", name=True),
            server=f"model_warmup can not be specified for ensemble '{model.called}'",
        )


@rule(
    "TRT362",
    "every step of an ensemble has a model and both maps",
    fix="write model_name, input_map and output_map",
    mirrors="BuildEnsembleGraph",
    bad=Example("ensemble_scheduling { }", base="ensemble"),
    good=_SOUND,
)
def steps_are_complete(model: Model) -> Problems:
    """A step names its model, the sources of its inputs and the targets of its outputs."""
    if model.is_ensemble and not model.config.ensemble_scheduling.step:
        yield Problem(
            "the ensemble has no step",
            model.at("ensemble_scheduling", name=True),
            server=f"must specify 'step' for ensemble '{model.called}'",
        )
    for number, missing in _incomplete(model):
        yield Problem(
            f"step {number + 1} has no {missing}",
            model.at("ensemble_scheduling", 0, "step", number),
            server=f"must specify '{missing}' in step {number} of ensemble '{model.called}'",
        )


def _incomplete(model: Model) -> Iterator[tuple[int, str]]:
    steps = model.config.ensemble_scheduling.step if model.is_ensemble else ()
    for number, step in enumerate(steps):
        for name in ("model_name", "input_map", "output_map"):
            if not getattr(step, name):
                yield number, name
                break


@rule(
    "TRT363",
    "every tensor of an ensemble is written once",
    fix="give each output of a step a tensor of its own",
    mirrors="BuildEnsembleGraph",
    bad=_steps(
        "IN", "OUT", ', { model_name: "b" model_version: -1\n'
        '  input_map { key: "IN" value: "IN" }\n  output_map { key: "OUT" value: "OUT" } }',
    ),
    good=_SOUND,
)  # fmt: skip
def written_once(model: Model) -> Problems:
    """Two outputs cannot go to one tensor."""
    for number, tensor in _rewritten(model):
        yield Problem(
            f"step {number + 1} writes the tensor {tensor!r} again",
            model.at("ensemble_scheduling", 0, "step", number, "output_map", name=True),
            server=f"ensemble tensor '{tensor}' can appear in an output map only once for ensemble "
            f"'{model.called}' step {number}",
        )


def _rewritten(model: Model) -> Iterator[tuple[int, str]]:
    seen: set[str] = set()
    steps = model.config.ensemble_scheduling.step if model.is_ensemble else ()
    for number, step in enumerate(steps):
        for tensor in step.output_map.values():
            if tensor in seen:
                yield number, tensor
            seen.add(tensor)


@rule(
    "TRT364",
    "the tensors of an ensemble connect its inputs and outputs",
    fix="map every input, output and intermediate tensor to the steps that use and write it",
    mirrors="ValidateEnsembleSchedulingConfig",
    bad=[_steps("IN", "other"), _steps("absent", "OUT")],
    good=_SOUND,
)
def connected(model: Model) -> Problems:
    """Every input is used, every output is computed from the inputs, and every intermediate
    tensor is both written and used. The server looks in this order and stops at the first."""
    if not model.is_ensemble or not model.config.ensemble_scheduling.step:
        return
    if any(_incomplete(model)) or any(_rewritten(model)):
        return
    tensors = _graph(model)
    found = list(_unused(model, tensors)) or list(_unwritten(model, tensors))
    yield from found or _between(model, tensors)


def _unused(model: Model, tensors: dict[str, _GraphTensor]) -> Problems:
    for number, tensor in enumerate(model.config.input):
        if tensor.name not in tensors:
            yield Problem(
                f"no step uses the input {tensor.name!r}",
                model.at("input", number, "name"),
                server=f"ensemble input '{tensor.name}' for ensemble {model.called}' is not used",
            )


def _unwritten(model: Model, tensors: dict[str, _GraphTensor]) -> Problems:
    for number, tensor in enumerate(model.config.output):
        at = model.at("output", number, "name")
        if tensor.name not in tensors:
            yield Problem(
                f"no step writes the output {tensor.name!r}",
                at,
                server=f"ensemble output '{tensor.name}' for ensemble {model.called}' is not used",
            )
        elif not tensors[tensor.name].ready:
            sources = sorted(n for n, t in tensors.items() if not (t.ready or t.written))
            yield Problem(
                f"the output {tensor.name!r} cannot be computed from the inputs"
                + (f": nothing writes {', '.join(map(repr, sources))}" if sources else ""),
                at,
                server=f"output '{tensor.name}' for ensemble '{model.called}' is not written",
            )


def _between(model: Model, tensors: dict[str, _GraphTensor]) -> Problems:
    outputs = {tensor.name for tensor in model.config.output}
    for name, tensor in tensors.items():
        if name not in outputs and not (tensor.ready and tensor.after):
            yield Problem(
                f"the tensor {name!r} is {'not used' if tensor.ready else 'not written'}",
                _place(model, name),
                server=f"ensemble tensor '{name}' is unused in ensemble '{model.called}'",
            )


def _place(model: Model, tensor: str) -> Position:
    """The first entry of a map that has the tensor."""
    for number, step in enumerate(model.config.ensemble_scheduling.step):
        for held in ("input_map", "output_map"):
            for key, value in getattr(step, held).items():
                if value == tensor:
                    path = ("ensemble_scheduling", 0, "step", number, held)
                    return model.positions.entry(*path, key=key)
    return model.at("ensemble_scheduling", name=True)


@rule(
    "TRT365",
    "an ensemble names each of its outputs once",
    fix="remove one of them",
    severity=Severity.WARNING,
    bad=Example(
        'output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 1 ] },\n'
        '  { name: "OUT" data_type: TYPE_FP32 dims: [ 1 ] } ]',
        base="ensemble",
    ),
    good=_SOUND,
)
def outputs_once(model: Model) -> Problems:
    """The server loads an ensemble with the same output twice; clients then see it twice."""
    names = [tensor.name for tensor in model.config.output] if model.is_ensemble else []
    for number, name in enumerate(names):
        if name in names[:number]:
            message = f"a second output is called {name!r}"
            yield Problem(message, model.at("output", number, "name"))
