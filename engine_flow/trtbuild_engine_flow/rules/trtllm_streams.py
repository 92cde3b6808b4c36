"""Streams of TensorRT-LLM's engine flow: what postprocessing makes of the pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import MODEL_PY, Example, engine_parameters
from trtbuild.check.model import Severity

# NVIDIA's postprocessing has this input too; the file is of ours only.
_PIECES = "TOKENS_BATCH"
_OURS = "llm_streams.py"
_EXCLUDE = "exclude_input_in_output"
_YES = ("true", "True", "TRUE", "1")  # what the C++ takes for true


def _tensors(input_name: str, output_name: str, kind: str = "INT32") -> str:
    tensor = '{}put [ {{ name: "{}" data_type: TYPE_{} dims: [ -1 ] }} ]\n'
    return tensor.format("in", input_name, "INT32") + tensor.format("out", output_name, kind)


def _ensemble(engine: str, input_name: str, after: str) -> str:
    """``e``: the engine, which takes ``input_name``, streams into the model ``after``."""
    maps = 'input_map {{ key: "{}" value: "{}" }} output_map {{ key: "{}" value: "{}" }}'
    steps = ",\n  ".join(
        f'{{ model_name: "{name}" model_version: -1\n    {maps.format(*tensors)} }}'
        for name, tensors in (
            (engine, (input_name, "IN", "output_ids", "ids")),
            (after, (_PIECES, "ids", "OUT", "OUT")),
        )
    )
    return (
        'name: "e" platform: "ensemble" max_batch_size: 8\n'
        + _tensors("IN", "OUT", "STRING")
        + f"ensemble_scheduling {{ step [\n  {steps} ] }}\n"
    )


def _flow(*, ours: bool) -> dict[str, str]:
    """An ensemble whose engine ``x`` streams into the model ``m``."""
    engine = (
        'name: "x" backend: "python" max_batch_size: 8\n'
        "model_transaction_policy { decoupled: true }\n" + _tensors("IN", "output_ids")
    )
    files = {"x/config.pbtxt": engine, "x/1/model.py": MODEL_PY}
    files |= {"e/config.pbtxt": _ensemble("x", "IN", "m"), "e/1/": ""}
    return files | ({f"m/1/{_OURS}": "# trtbuild's\n"} if ours else {})


def _echoing(**parameters: str) -> Example:
    """An ensemble whose engine is ``m``, with trtbuild's postprocessing ``x``."""
    after = 'name: "x" backend: "python" max_batch_size: 8\n' + _tensors(_PIECES, "OUT", "STRING")
    files = {"x/config.pbtxt": after, "x/1/model.py": MODEL_PY, f"x/1/{_OURS}": "# trtbuild's\n"}
    files |= {"e/config.pbtxt": _ensemble("m", "input_ids", "x"), "e/1/": ""}
    tensors = _tensors("input_ids", "output_ids")
    return Example(tensors + engine_parameters(**parameters), files, "engine")


def _example(groups: str, *, ours: bool = True) -> Example:
    config = (
        f'input [ {{ name: "{_PIECES}" data_type: TYPE_INT32 dims: [ -1 ] }} ]\n'
        f'output [ {{ name: "OUT" data_type: TYPE_STRING dims: [ -1 ] }} ]\n{groups}'
    )
    return Example(config, _flow(ours=ours), gpus=2 if "KIND_GPU" in groups else None)


@rule(
    "TRT741",
    "the pieces of a stream become text in one instance",
    fix="write instance_group [ { count: 1 kind: KIND_CPU } ]",
    backends=("python",),
    bad=[
        _example("instance_group [ { count: 4 kind: KIND_CPU } ]"),
        _example("instance_group [ { kind: KIND_GPU } ]"),
        _example("instance_group [ { count: 4 kind: KIND_CPU } ]", ours=False),
    ],
    good=_example("instance_group [ { count: 1 kind: KIND_CPU } ]"),
)
def one_postprocessing(model: Model) -> Problems:
    """An engine that streams makes a request of each piece, and Triton gives it to whichever
    instance is free: pieces overtake each other. Ours keeps the text so far in its instance, so it
    also loses what the other one has. NVIDIA's tells clients the words in another order
    (triton-inference-server/tensorrtllm_backend#614), a warning. One instance is enough: pieces
    that wait come in one call. KIND_GPU makes an instance on each GPU, and so does a configuration
    without ``instance_group`` on a server that has some."""
    if all(tensor.name != _PIECES for tensor in model.config.input):
        return
    count = _instances(model)
    if count > 1 and any(_streams_into(other, model) for other in model.repository.models):
        ours = _is_ours(model)
        yield Problem(
            f"{count} instances share the pieces of a stream: "
            + ("texts are torn apart" if ours else "they reach the client in another order"),
            model.at("instance_group", name=True),
            severity=None if ours else Severity.WARNING,
        )


@rule(
    "TRT742",
    "the engine leaves the prompt out of what trtbuild's postprocessing takes",
    fix=f'write parameters {{ key: "{_EXCLUDE}" value {{ string_value: "true" }} }}',
    backends=("tensorrtllm",),
    bad=[_echoing(), _echoing(exclude_input_in_output="false")],
    good=_echoing(exclude_input_in_output="true"),
)
def no_prompt(model: Model) -> Problems:
    """The C++ repeats the prompt before the answer unless this parameter is true. Our
    postprocessing takes every token for one of the answer: texts would begin with their prompts,
    counts and limits include them, and an end token of a chat would cut the answer away. Who wants
    the prompt back sends the parameter's tensor to the engine's own model."""
    said = model.parameters().get(_EXCLUDE, "")
    if said not in _YES and any(_is_ours(after) for after in _readers(model)):
        yield Problem(
            f"{_EXCLUDE} is {said!r}: answers begin with their prompts"
            if said
            else f"{_EXCLUDE} is not given, which is false: answers begin with their prompts",
            model.at_parameter(_EXCLUDE),
        )


def _is_ours(model: Model) -> bool:
    return any((folder / _OURS).is_file() for folder in model.folders)


def _readers(model: Model) -> Iterator[Model]:
    """The models that ensembles feed with what ``model`` makes."""
    for ensemble in (each for each in model.repository.models if each.is_ensemble):
        steps = ensemble.config.ensemble_scheduling.step
        made = {
            name
            for step in steps
            if step.model_name == model.name
            for name in step.output_map.values()
        }
        for step in steps:
            after = ensemble.repository.find(step.model_name)
            if after is not None and made & set(step.input_map.values()):
                yield after


def _instances(model: Model) -> int:
    """How many the server makes, with one GPU where their number is not known."""
    gpus = max(1, model.repository.options.gpus or 0)
    return sum(_of_group(group, gpus) for group in model.config.instance_group) or gpus


def _of_group(group: Any, gpus: int) -> int:
    kinds = type(group).DESCRIPTOR.enum_types_by_name["Kind"].values_by_name
    on_gpus = group.kind in (kinds["KIND_GPU"].number, kinds["KIND_AUTO"].number)
    places = (len(group.gpus) or gpus) if on_gpus else 1
    return places * max(1, int(group.count))


def _streams_into(ensemble: Model, model: Model) -> bool:
    """Whether a decoupled member of an ensemble writes what ``model`` reads there."""
    if not ensemble.is_ensemble:
        return False
    steps = ensemble.config.ensemble_scheduling.step
    made = {name for step in _decoupled(ensemble) for name in step.output_map.values()}
    return any(
        step.model_name == model.name and made & set(step.input_map.values()) for step in steps
    )


def _decoupled(ensemble: Model) -> Iterator[Any]:
    for step in ensemble.config.ensemble_scheduling.step:
        member = ensemble.repository.find(step.model_name)
        config = member.config if member is not None else None
        if config is not None and config.model_transaction_policy.decoupled:
            yield step
