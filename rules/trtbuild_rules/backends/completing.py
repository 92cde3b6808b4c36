"""Python: what the backend refuses of a model's ``auto_complete_config``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trtbuild import pbtxt
from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import Example
from trtbuild_rules.backends.python import sources
from trtbuild_rules.readers.python.pycomplete import Added, Completion
from trtbuild_rules.readers.python.pyrefused import improper

_COMPLETES = """\
class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        config.%s
        return config

    def execute(self, requests):
        return [None for _ in requests]
"""
_Found = Iterator[tuple[str, str]]


def _python(source: str) -> Example:
    return Example(files={"m/1/model.py": source}, auto_complete=True)


def _adds(tensor: str) -> Example:
    return _python(_COMPLETES % f"add_input({tensor})")


@rule(
    "TRT606",
    "the backend accepts what auto_complete_config does",
    fix="add each tensor with name, data_type and dims, say the same as config.pbtxt where it has "
    "the tensor, and return the configuration",
    mirrors="ModelConfig.add_input, ModelConfig.add_output",
    backends=("python",),
    bad=[
        _adds('{"name": "MORE", "data_type": "TYPE_FP32"}'),
        _adds('{"name": "MORE", "datatype": "TYPE_FP32", "dims": [1]}'),
        _adds('{"name": "MORE", "data_type": "TYPE_FP32", "dims": [0]}'),
        _python(_COMPLETES % "set_max_batch_size(-1)"),
        _python((_COMPLETES % "as_dict()").replace("return config", "pass")),
        _python((_COMPLETES % "as_dict()").replace("(config)", "(self, config)")),
    ],
    good=[
        _adds('{"name": "MORE", "data_type": "TYPE_FP32", "dims": [-1], "optional": True}'),
        Example(files={"m/1/model.py": _COMPLETES % "set_max_batch_size(-1)"}),
    ],
)
def accepted(model: Model) -> Problems:
    """The method is called by servers that complete configurations; an exception in it stops the
    model. Only literal values are read."""
    for file, source in sources(model) if model.repository.options.auto_complete else ():
        completion = source.completion
        for said, server in _refusals(model, completion) if completion else ():
            yield Problem(
                f"auto_complete_config is refused: {said}",
                completion.at if completion else model.at("backend"),
                file=file,
                server=server,
            )


def _refusals(model: Model, completion: Completion) -> _Found:
    for said, server in completion.refused:
        yield said, server.format(model=model.name)
    largest = model.config.max_batch_size
    if completion.batch is not None and completion.sets_batch and completion.batch < largest:
        yield (
            f"it sets max_batch_size {completion.batch}, and config.pbtxt has {largest}",
            f"configuration specified max_batch_size {largest}, but in auto-complete-config "
            f"function for model '{model.name}' specified max_batch_size {completion.batch}",
        )
    if completion.batching and model.config.HasField("sequence_batching"):
        yield (
            "it sets dynamic batching, and config.pbtxt has sequence batching",
            "Configuration specified scheduling_choice as 'sequence_batching', but "
            f"auto-complete-config function for model '{model.name}' tries to set "
            "scheduling_choice as 'dynamic_batching'",
        )
    yield from _tensors(model, completion)


def _tensors(model: Model, completion: Completion) -> _Found:
    added: dict[tuple[str, str], Added] = {}
    for one in completion.added:
        name = one.properties["name"]
        given = next((each for each in getattr(model.config, one.kind) if each.name == name), None)
        first = added.get((one.kind, name))
        if one.guarded and (given is not None or first):
            continue  # the source may ask first whether it is there
        if wrong := list(improper(one.kind, one.properties)):
            yield from ((said, server.format(model=model.name)) for said, server in wrong)
        elif given is not None:
            yield from _optional(model, one, given)
        elif first:
            yield from _again(model, first, one)
        else:
            added[one.kind, name] = one
            yield from _values(model, one)


def _optional(model: Model, one: Added, given: Any) -> _Found:
    wants = one.properties.get("optional")
    if one.kind == "input" and isinstance(wants, bool) and wants != given.optional:
        yield (
            f"input {given.name!r} is {'' if wants else 'not '}optional there, and config.pbtxt "
            f"says {str(given.optional).lower()}",
            f"model '{model.name}', tensor '{given.name}': the model expects optional {wants} but "
            f"the model configuration specifies optional {given.optional}",
        )


def _again(model: Model, first: Added, second: Added) -> _Found:
    """The second time a tensor is added is compared with the first."""
    name = second.properties["name"]
    for key, server in (
        (
            "data_type",
            "unable to load model '{model}', configuration expects datatype {first} for {kind} "
            "'{name}', model provides {second}",
        ),
        (
            "dims",
            "model '{model}', tensor '{name}': the model expects dims {second} but the model "
            "configuration specifies dims {first}",
        ),
    ):
        one, other = first.properties.get(key), second.properties.get(key)
        if _is_known(one) and _is_known(other) and one != other:
            yield (
                f"it adds {second.kind} {name!r} twice, with {key} {one} and {other}",
                server.format(
                    model=model.name, first=one, kind=second.kind, name=name, second=other
                ),
            )
            return


def _is_known(value: Any) -> bool:
    """Whether a type or shape can be read, and is one."""
    unread = isinstance(value, list) and None in value
    return bool(value) and not unread and value != "TYPE_INVALID"


def _values(model: Model, one: Added) -> _Found:
    """What the server says of a tensor that the configuration does not have."""
    name, dims = one.properties["name"], one.properties.get("dims")
    tensor = f"model {one.kind} '{name}'"
    data_type = one.properties.get("data_type")
    if data_type == "TYPE_INVALID":
        yield (
            f"{one.kind} {name!r} has no data_type",
            f"{tensor} must specify 'data_type' for {model.name}",
        )
    elif isinstance(data_type, str) and not _is_type(data_type):
        yield (
            f"there is no data_type {data_type!r} ({one.kind} {name!r})",
            f"model configuration is not provided for model '{model.name}'",
        )
    elif dims == []:
        yield f"{one.kind} {name!r} has no dims", f"{tensor} must specify 'dims' for {model.name}"
    elif isinstance(dims, list) and any(isinstance(n, int) and (n < -1 or n == 0) for n in dims):
        yield (
            f"{one.kind} {name!r} has dims {dims}",
            f"{tensor} dimension must be integer >= 1, or -1 to indicate a variable-size dimension "
            f"for {model.name}",
        )


def _is_type(name: str) -> bool:
    try:
        return bool(pbtxt.data_type(name))
    except ValueError:
        return False
