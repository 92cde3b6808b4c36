"""TensorRT-LLM's C++ backend: the parameters and settings that it reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from trtbuild.check.context import PLACEHOLDER, Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import (
    ENGINE_KEYS,
    Example,
    engine_config,
    engine_parameters,
)
from trtbuild.check.model import Severity
from trtbuild.check.unfilled import UNFILLED, Unfilled
from trtbuild_rules.readers.served import trtllm_release_of

if TYPE_CHECKING:
    from trtbuild_engine_flow.parameters import Setting

_ENGINE = ("tensorrtllm",)
_OLD = "\n".join(line for line in engine_parameters().splitlines() if "gpt_model" in line)


def _of(release: str) -> dict[str, str]:
    """The engine of the examples, built by another TensorRT-LLM."""
    return {"m/1/config.json": engine_config(release)}


@rule(
    "TRT735",
    "the backend reads every parameter and accepts its value",
    fix="correct the name or the value; the documentation of the engine flow lists them",
    severity=Severity.WARNING,
    backends=_ENGINE,
    bad=[
        Example(engine_parameters(batch_scheduler_policy="MAX_UTILIZATION"), base="engine"),
        Example(engine_parameters(max_beam_widht="2"), base="engine"),
        Example(engine_parameters(kv_cache_free_gpu_mem_fraction="0,9"), base="engine"),
        Example(engine_parameters(multi_block_mode="true"), base="engine", triton="24.10"),
    ],
    good=[
        Example(engine_parameters(batch_scheduler_policy="max_utilization"), base="engine"),
        Example(engine_parameters(enable_trt_overlap="${enable_trt_overlap}"), base="engine"),
        Example(engine_parameters(multiBlockMode="true"), _of("0.14.0"), "engine", "24.10"),
    ],
)
def parameters(model: Model) -> Problems:
    """The C++ code silently ignores what it does not know: a misspelt or removed name, a boolean
    in other words, a policy in capitals, a number with a comma become the default. Up to
    TensorRT-LLM 0.14 two parameters had names in camel case. A parameter that is empty, or still
    has NVIDIA's placeholder, means the default."""
    from trtbuild_engine_flow.parameters import ignored_parameters

    release = trtllm_release_of(model)
    for name, value in model.filled().items():
        at = model.at_parameter(name)
        without = ignored_parameters().get(name)
        if without is None:
            if message := _problem(name, value, release):
                yield Problem(message, at)
        elif value.lower() not in _OFF:
            instead = f"; write {without.instead}" if without.instead else ""
            message = f"{name} has no effect: {without.why}{instead}"
            yield Problem(message, at, severity=Severity.INFO)


_OFF = ("false", "0")
_TYPE = "gpt_model_type"  # TRT743 judges its value


def _problem(name: str, value: str, release: str) -> str:
    """What is wrong with a parameter's name or value, empty when nothing is."""
    setting = _table().get(name) or _former().get(name)
    if setting is None:
        return f"the backend reads no parameter {name!r}{_nearest(name, _table())}"
    if release and not setting.known_to(release, _MODEL):
        return f"TensorRT-LLM {release} reads no {name!r}"
    key = setting.key(release) if release else setting.name
    if name != key:
        which = f"TensorRT-LLM {release}" if release else "the backend"
        return f"{which} reads no {name!r}: it is called {key!r} there"
    return "" if name == _TYPE else setting.text_problem(value)


_MODEL = "tensorrt_llm"


@cache
def _table() -> Mapping[str, Setting]:
    from trtbuild_engine_flow.parameters import triton_parameters

    return {
        row.name: row
        for row in triton_parameters().values()
        if _MODEL in row.models and not row.in_config
    }


@cache
def _former() -> Mapping[str, Setting]:
    return {row.former: row for row in _table().values() if row.former}


def _nearest(name: str, table: Mapping[str, Setting]) -> str:
    import difflib

    near = difflib.get_close_matches(name, table, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


_THROWS = "unexpected error when creating modelInstanceState: "


@rule(
    "TRT740",
    "the required keys of the backend exist",
    fix="add the parameter; an empty string_value will do for the tokenizer's and the guide's",
    backends=_ENGINE,
    bad=[
        Example(
            'parameters { key: "gpt_model_path" value { string_value: "/models/m/1" } }',
            base="engine",
        ),
        Example("\n".join(engine_parameters().splitlines()[1:]), base="engine", triton="24.10"),
    ],
    good=[
        Example(engine_parameters(), base="engine"),
        Example(_OLD, _of("0.18.2"), "engine", "25.04"),
    ],
)
def required_keys(model: Model) -> Problems:
    """The C++ code throws if one of these keys is missing, without any advice:
    ``gpt_model_type`` in every release, the three of guided decoding since TensorRT-LLM 0.19
    (Triton 25.05). Those three are a warning where the release is not known: a repository without
    them is most likely for an older one."""
    given, release = model.parameters(), trtllm_release_of(model)
    absent: dict[str, list[str]] = defaultdict(list)
    for name in ENGINE_KEYS:
        setting = _table()[name]
        if name not in given and not (release and not setting.known_to(release, _MODEL)):
            absent[setting.since_in.get(_MODEL) or setting.since].append(name)
    for since, names in absent.items():
        why = f", which the backend reads since TensorRT-LLM {since}" if since else ""
        listed = ", ".join(map(repr, names))
        yield Problem(
            f"there {'are' if len(names) > 1 else 'is'} no parameter"
            f"{'s' if len(names) > 1 else ''} {listed}{why}",
            model.at("parameters", name=True),
            server=f"{_THROWS}Cannot find parameter with name: {names[0]}",
            fix=_how_to_add(names, older=bool(since) and not release),
            severity=Severity.WARNING if since and not release else None,
        )


def _how_to_add(names: list[str], *, older: bool) -> str:
    if names == [_TYPE]:
        return 'add it with string_value: "inflight_fused_batching"'
    release = "; judge for an older release with --triton YY.MM" if older else ""
    return (
        f"add {'them' if len(names) > 1 else 'it'}, with an empty string_value if need be{release}"
    )


@rule(
    "TRT743",
    "the batching strategy is one that the backend knows",
    fix='write string_value: "inflight_fused_batching"',
    backends=_ENGINE,
    bad=[
        Example(engine_parameters(gpt_model_type="${batching_strategy}"), base="engine"),
        Example(engine_parameters(gpt_model_type="Inflight_Fused_Batching"), base="engine"),
    ],
    good=[
        Example(engine_parameters(gpt_model_type=kind), base="engine")
        for kind in ("inflight_fused_batching", "inflight_batching", "V1", "v1")
    ],
)
def batching_strategy(model: Model) -> Problems:
    """``gpt_model_type`` has no default: the C++ code throws for any other word, and case
    matters."""
    value = model.parameters().get(_TYPE)
    if value is not None and value not in _table()[_TYPE].choices:
        left = PLACEHOLDER.fullmatch(value)
        message = f"gpt_model_type is {value!r}"
        yield Problem(
            f"{message}, a placeholder that was never filled in" if left else message,
            model.at_parameter(_TYPE),
            server=f"{_THROWS}Invalid gpt_model_type. Must be v1/inflight_batching/"
            "inflight_fused_batching.",
        )


_PATHS = ("gpt_model_path", "encoder_model_path")


@rule(
    "TRT744",
    "config.pbtxt names the engine",
    fix="set gpt_model_path to the directory with config.json and rank*.engine",
    backends=_ENGINE,
    bad=[
        Example(engine_parameters(gpt_model_path="${engine_dir}"), base="engine"),
        Example(engine_parameters(gpt_model_path=""), base="engine"),
    ],
    good=[
        Example(engine_parameters(), base="engine"),
        Example(
            engine_parameters(gpt_model_path="", encoder_model_path="/models/m/1"), base="engine"
        ),
    ],
)
def engine_is_named(model: Model) -> Problems:
    """A path that is missing, empty or a placeholder counts as none. A model that has only an
    encoder needs only ``encoder_model_path``."""
    if not engine_path_is_missing(model):
        return
    value = model.parameters().get(_PATHS[0])
    yield Problem(
        "there is no parameter 'gpt_model_path'"
        if value is None
        else f"gpt_model_path is {value!r}",
        model.at("parameters", name=True) if value is None else model.at_parameter(_PATHS[0]),
        server=f"{_THROWS}Both encoder and decoder model paths are empty",
    )


def engine_path_is_missing(model: Model) -> bool:
    """Whether neither path of an engine is given."""
    return not any(key in model.filled() for key in _PATHS)


@cache
def _optional() -> frozenset[str]:
    """Parameters of NVIDIA's models around an engine, which look for the placeholder."""
    from trtbuild_engine_flow.parameters import ignored_parameters, triton_parameters

    return frozenset((*triton_parameters(), *ignored_parameters(), "engine_dir"))


def _is_judged(model: Model, key: str) -> bool:
    """TRT743 and TRT744 report these two themselves."""
    return key == "gpt_model_type" or (key == _PATHS[0] and engine_path_is_missing(model))


UNFILLED.append(Unfilled("tensorrtllm", _optional, _is_judged))


_LOOKAHEAD = (
    "lookahead_window_size", "lookahead_ngram_size", "lookahead_verification_set_size",
)  # fmt: skip
_GUIDE = ("guided_decoding_backend", "xgrammar_tokenizer_info_path")


@rule(
    "TRT745",
    "lookahead and guided decoding have what they need",
    fix="fill in the parameters, or leave all of them empty",
    backends=_ENGINE,
    bad=[
        Example(engine_parameters(decoding_mode="lookahead"), base="engine"),
        Example(
            engine_parameters(
                guided_decoding_backend="outlines", xgrammar_tokenizer_info_path="/models/m/1/x"
            ),
            base="engine",
        ),
    ],
    good=[
        Example(
            engine_parameters(decoding_mode="lookahead", **dict.fromkeys(_LOOKAHEAD, "4")),
            {"m/1/config.json": engine_config(speculative_decoding_mode="LOOKAHEAD_DECODING")},
            "engine",
        ),
        Example(engine_parameters(guided_decoding_backend="xgrammar"), base="engine"),
    ],
)
def decoding_is_whole(model: Model) -> Problems:
    """Other values fall back to a default, but the C++ code throws for these: lookahead decoding
    without its three sizes, and a guide (with the file that describes the tokenizer) that is not
    ``xgrammar``. Releases before TensorRT-LLM 0.19 have neither."""
    given, release = model.filled(), trtllm_release_of(model)
    if release and not _table()[_GUIDE[1]].known_to(release):
        return
    lacking = [key for key in _LOOKAHEAD if key not in given]
    if given.get("decoding_mode") == "lookahead" and lacking:
        yield Problem(
            f"decoding_mode is lookahead, and {', '.join(lacking)} "
            f"{'are' if len(lacking) > 1 else 'is'} not given",
            model.at_parameter("decoding_mode"),
            server="Decoding mode is set to lookahead but lookahead parameters are not specified.",
        )
    guide, file = (given.get(key, "") for key in _GUIDE)
    if guide and file and guide not in _table()[_GUIDE[0]].choices:
        yield Problem(
            f"guided_decoding_backend is {guide!r}, and only 'xgrammar' is known",
            model.at_parameter(_GUIDE[0]),
            server="Guided decoding is currently supported with 'xgrammar' backend.",
        )


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
