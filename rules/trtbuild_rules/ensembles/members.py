"""Members of ensembles: are they there, and do they load?

The server's functions are in triton-inference-server/core, src/ensemble_utils.cc and
src/model_repository_manager.cc.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import Example
from trtbuild.located.positions import Position
from trtbuild_rules.readers.completion import tensors_of

_SOUND = Example(base="ensemble")
# Rules that the server applies when it reads the models, and to the graph of all of them. The
# others it applies when it loads one.
_READING = {
    "AutoCompleteBackendFields", "BuildEnsembleGraph", "GetBooleanSequenceControlProperties",
    "GetTypedSequenceControlProperties", "InitializeModelInfo", "ModelRepositoryManager::Poll",
    "ReadTextFile", "ReadTextProto", "ValidateEnsembleSchedulingConfig", "ValidateModelConfig",
    "ValidateModelMetrics",
}  # fmt: skip
_READING_IF_COMPLETE = {"ValidateBatchIO", "ValidateModelIOConfig"}
_LINKING = {
    "CheckNode", "CircularDependencyCheck", "ConnectDependencyGraph", "ValidateEnsembleConfig",
    "ValidateTensorMapping",
}  # fmt: skip


def _one_step(step: str) -> Example:
    """An ensemble over the model a."""
    maps = 'input_map { key: "IN" value: "IN" } output_map { key: "OUT" value: "OUT" }'
    config = f"ensemble_scheduling {{ step [ {{ {step}\n  {maps} }} ] }}"
    return Example(config, base="ensemble")


def _members(model: Model) -> Iterator[tuple[int, Any, Model | None]]:
    """Number of each step, the step, its model if there is one."""
    if model.is_ensemble:
        for number, step in enumerate(model.config.ensemble_scheduling.step):
            if step.model_name:
                yield number, step, model.repository.find(step.model_name)


def sound_members(model: Model) -> list[tuple[int, Any, Model]]:
    """Number of each step, the step, its model; empty unless the server reads all models.

    A member that only its backend refuses, such as one without weights, still has its tensors.
    """
    steps = [
        (n, step, member)
        for n, step, member in _members(model)
        if member is not None and member.config is not None
    ]
    sound = len(steps) == len(list(_members(model))) and not any(
        _circle(model, member) or _refused_by_server(member) or not _loads(step, member)
        for _, step, member in steps
    )
    return steps if sound else []


def _refused_by_server(member: Model) -> bool:
    """Whether the server itself refuses a model. From TRT6 on it is the model's backend."""
    return any(each.id < "TRT6" for each, _ in member.repository.errors_of(member))


def _at(model: Model, number: int, name: str = "model_name") -> Position:
    return model.at("ensemble_scheduling", 0, "step", number, name)


@rule(
    "TRT371",
    "the models of an ensemble exist",
    fix="put the model into the repository, or name an existing one",
    mirrors="ConnectDependencyGraph",
    bad=_one_step('model_name: "absent" model_version: -1'),
    good=_SOUND,
)
def members_exist(model: Model) -> Problems:
    """Every step names a model of this server."""
    for number, step, member in _members(model):
        if member is None:
            yield Problem(
                f"there is no model {step.model_name!r}",
                _at(model, number),
                server=_missing(model, step.model_name),
            )


def _missing(model: Model, name: str) -> str:
    return f"ensemble {model.name} contains models that are not available or ambiguous: {name}"


@rule(
    "TRT372",
    "ensembles do not contain one another in a circle",
    fix="remove one of the ensembles from the other",
    mirrors="CircularDependencyCheck",
    bad=_one_step('model_name: "m" model_version: -1'),
    good=_SOUND,
)
def no_circle(model: Model) -> Problems:
    """An ensemble may be a step of another one, but not of itself."""
    for number, step, member in _members(model):
        if member is not None and _circle(model, member):
            yield Problem(
                f"{step.model_name!r} leads back to this ensemble",
                _at(model, number),
                server=f"circular dependency between ensembles: {model.name} -> ... ->",
            )


def _circle(model: Model, member: Model) -> bool:
    """Whether the steps of a member lead back to the model."""
    seen: set[str] = set()
    waiting = [member]
    while waiting:
        each = waiting.pop()
        if each is model:
            return True
        if each.name not in seen:
            seen.add(each.name)
            waiting += [found for _, _, found in _members(each) if found is not None]
    return False


@rule(
    "TRT373",
    "the models of an ensemble load",
    fix="fix that model first",
    mirrors="CheckNode",
    bad=Example(
        files={"a/config.pbtxt": 'name: "a" backend: "python" max_batch_size: -1'}, base="ensemble"
    ),
    good=_SOUND,
    follows=True,
)
def members_load(model: Model) -> Problems:
    """An ensemble does not load if one of its members does not. The cause is reported with the
    member."""
    for number, step, member in _members(model):
        errors = (
            model.repository.errors_of(member)
            if member is not None and not _circle(model, member)
            else ()
        )
        if errors:
            first = errors[0][1]
            yield Problem(
                f"the model {step.model_name!r} is refused ({first.rule}): {first.message}",
                _at(model, number),
                server=_refused(model, step.model_name, {each.mirrors for each, _ in errors}),
            )


def _refused(model: Model, name: str, functions: set[str]) -> str:
    """What the server says of an ensemble whose member these functions refuse."""
    complete = model.repository.options.auto_complete
    if functions & (_READING if complete else _READING | _READING_IF_COMPLETE):
        return _missing(model, name)
    why = "is not valid" if functions & _LINKING else "has no loaded version"
    return f"ensemble '{model.name}' depends on '{name}' which {why}"


@rule(
    "TRT374",
    "the version that a step names is loaded",
    fix="write model_version: -1 for the newest one",
    mirrors="CheckNode",
    bad=_one_step('model_name: "a"'),
    good=_SOUND,
)
def versions_load(model: Model) -> Problems:
    """A missing ``model_version`` means version 0, which hardly any model has. A member that only
    its backend refuses, such as one without weights, is judged, too."""
    for number, step, member in _members(model):
        if member is not None and not _refused_by_server(member) and not _loads(step, member):
            yield Problem(
                f"version {step.model_version} of {step.model_name!r} is not loaded; loaded: "
                f"{', '.join(map(str, member.served)) or 'none'}",
                _at(model, number, "model_version"),
                server=f"ensemble '{model.name}' depends on '{step.model_name}' whose required "
                f"version {step.model_version} is not loaded.",
            )


def _loads(step: Any, member: Model) -> bool:
    return step.model_version == -1 or step.model_version in member.served


@rule(
    "TRT375",
    "no member of an ensemble has a smaller batch size",
    fix="lower the ensemble's max_batch_size, or raise the member's",
    mirrors="ValidateEnsembleConfig",
    bad=Example("max_batch_size: 16", base="ensemble"),
    good=Example("max_batch_size: 4", base="ensemble"),
)
def batch_sizes(model: Model) -> Problems:
    """The ensemble passes its batch on to its members unchanged. A member that does not batch is
    allowed where the shapes agree."""
    largest = model.config.max_batch_size
    for number, step, member in sound_members(model):
        size = tensors_of(member).config.max_batch_size
        if 0 < size < largest:
            filled = ", which the server fills in" if not _written(member) else ""
            yield Problem(
                f"max_batch_size is {largest}, that of {step.model_name!r} is {size}{filled}",
                model.at("max_batch_size") if largest else _at(model, number),
                server=f"ensemble {model.name} allows maximum batch size {largest}, but it "
                f"contains model {step.model_name} which only allows maximum batch size to be "
                f"{size}",
            )


def _written(member: Model) -> int:
    """The largest batch as the member's own file has it."""
    return member.config.max_batch_size if member.config is not None else 0
