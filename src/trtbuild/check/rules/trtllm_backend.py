"""TensorRT-LLM's C++ backend: the parameters and settings that it reads."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import ENGINE_KEYS, Example, engine_parameters
from trtbuild.check.model import Severity
from trtbuild.check.served import trtllm_release_of
from trtbuild.toolchain import Setting, triton_parameters

_ENGINE = ("tensorrtllm",)


@rule(
    "TRT735",
    "every parameter is one that the backend reads, with a value that it takes",
    fix="correct the name or the value; the documentation of the engine flow lists them",
    severity=Severity.WARNING,
    backends=_ENGINE,
    bad=[
        Example(engine_parameters(batch_scheduler_policy="MAX_UTILIZATION"), base="engine"),
        Example(engine_parameters(enable_trt_overlap="true"), base="engine"),
        Example(engine_parameters(kv_cache_free_gpu_mem_fraction="0,9"), base="engine"),
    ],
    good=Example(engine_parameters(batch_scheduler_policy="max_utilization"), base="engine"),
)
def parameters(model: Model) -> Problems:
    """What the C++ does not know it passes over in silence: a misspelt or removed name, a boolean
    in other words, a policy in capitals, a number with a comma become the default."""
    table, release = _table(), trtllm_release_of(model)
    for name, value in model.parameters().items():
        setting = table.get(name)
        if setting is None:
            near = _nearest(name, table)
            message = f"the backend reads no parameter {name!r}{near}"
        elif release and not setting.known_to(release):
            message = f"TensorRT-LLM {release} reads no {name!r}"
        else:
            message = setting.text_problem(value)
        if message:
            yield Problem(message, model.at_parameter(name))


@cache
def _table() -> Mapping[str, Setting]:
    return {
        row.name: row
        for row in triton_parameters().values()
        if "tensorrt_llm" in row.models and not row.field
    }


def _nearest(name: str, table: Mapping[str, Setting]) -> str:
    import difflib

    near = difflib.get_close_matches(name, table, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


@rule(
    "TRT740",
    "the keys that the backend cannot do without are there",
    fix="add the parameter; an empty string_value will do for the tokenizer's and the guide's",
    backends=_ENGINE,
    bad=Example(
        'parameters { key: "gpt_model_path" value { string_value: "/models/m/1" } }', base="engine"
    ),
    good=Example(engine_parameters(), base="engine"),
)
def required_keys(model: Model) -> Problems:
    """The C++ throws for these when the key itself is missing, and says no more than that."""
    given, release = model.parameters(), trtllm_release_of(model)
    for name in ENGINE_KEYS:
        setting = _table().get(name)
        known = setting is None or not release or setting.known_to(release)
        if name not in given and known:
            yield Problem(f"there is no parameter {name!r}", model.at("parameters", name=True))


@rule(
    "TRT739",
    "a model that streams is decoupled",
    fix="write model_transaction_policy { decoupled: true } if clients stream",
    severity=Severity.INFO,
    backends=_ENGINE,
    bad=Example(
        "model_transaction_policy { decoupled: false }\n" + engine_parameters(), base="engine"
    ),
    good=Example(engine_parameters(), base="engine"),
)
def decoupled(model: Model) -> Problems:
    """Without it a request that asks to stream is refused ("Streaming is only supported if model
    is deployed using decoupled mode")."""
    if not model.config.model_transaction_policy.decoupled:
        yield Problem(
            "the model is not decoupled, so it cannot stream",
            model.at("model_transaction_policy", "decoupled"),
        )
