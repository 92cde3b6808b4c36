"""Streams of TensorRT-LLM's engine flow: pieces become text in the order in which they come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trtbuild.check.bases import complete
from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import MODEL_PY, Example
from trtbuild.check.model import Severity
from trtbuild.check.rules.ensemble import is_ensemble

# NVIDIA's postprocessing has this input too; the file is of ours only.
_PIECES = "TOKENS_BATCH"
_OURS = "llm_streams.py"


def _flow(*, ours: bool) -> dict[str, str]:
    """An ensemble ``e`` whose engine ``x`` streams into the model ``m``."""
    maps = 'input_map {{ key: "{}" value: "{}" }} output_map {{ key: "{}" value: "{}" }}'
    steps = ",\n  ".join(
        f'{{ model_name: "{name}" model_version: -1\n    {maps.format(*tensors)} }}'
        for name, tensors in (
            ("x", ("IN", "IN", "output_ids", "ids")),
            ("m", (_PIECES, "ids", "OUT", "OUT")),
        )
    )
    tensor = '{}put [ {{ name: "{}" data_type: TYPE_{} dims: [ -1 ] }} ]\n'
    ensemble = {
        "name": 'name: "e"',
        "platform": 'platform: "ensemble"',
        "max_batch_size": "max_batch_size: 8",
        "input": tensor.format("in", "IN", "INT32").strip(),
        "output": tensor.format("out", "OUT", "STRING").strip(),
        "ensemble_scheduling": f"ensemble_scheduling {{ step [\n  {steps} ] }}",
    }
    engine = (
        'name: "x" backend: "python" max_batch_size: 8\n'
        "model_transaction_policy { decoupled: true }\n"
        + tensor.format("in", "IN", "INT32")
        + tensor.format("out", "output_ids", "INT32")
    )
    files = {"x/config.pbtxt": engine, "x/1/model.py": MODEL_PY}
    files |= {"e/config.pbtxt": complete("", ensemble), "e/1/": ""}
    return files | ({f"m/1/{_OURS}": "# trtbuild's\n"} if ours else {})


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
        ours = any((folder / _OURS).is_file() for folder in model.folders)
        yield Problem(
            f"{count} instances share the pieces of a stream: "
            + ("texts are torn apart" if ours else "they reach the client in another order"),
            model.at("instance_group", name=True),
            severity=None if ours else Severity.WARNING,
        )


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
    if not is_ensemble(ensemble):
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
