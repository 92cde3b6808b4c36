"""Map the settings of a deployment to the LLM API: mapped, unnecessary, or lost."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Collection, Iterator
from collections.abc import Mapping as MappingType
from dataclasses import dataclass
from functools import cache
from typing import Any

from trtbuild.resources import template_dir
from trtbuild.toolchain import TrtllmRelease
from trtbuild_engine_flow.migration.reading import LegacyDeployment
from trtbuild_engine_flow.migration.table import table
from trtbuild_engine_flow.parameters import triton_parameters

UNFILLED = "${…}"
"""The value of a parameter whose placeholder nobody filled in."""
_TRUE, _FALSE = {"True", "true", "TRUE", "1"}, {"False", "false", "FALSE", "0"}


@dataclass(frozen=True, slots=True)
class MappedParameter:
    """``key`` = ``old`` became ``to`` = ``new``; ``to`` is empty if nothing is needed."""

    key: str
    old: str
    to: str = ""
    new: Any = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Loss:
    """``key`` = ``old`` has no counterpart: why, and what to do."""

    key: str
    old: str
    why: str
    fix: str


@dataclass(frozen=True, slots=True)
class Mapping:
    """The arguments for the ``trtllm`` builder, and the result for every setting."""

    engine: MappingType[str, Any]
    mapped: tuple[MappedParameter, ...]
    moot: tuple[MappedParameter, ...]
    lost: tuple[Loss, ...]
    tensors: MappingType[str, str]
    tensors_lost: tuple[str, ...] = ()


def map_deployment(deployment: LegacyDeployment, release: TrtllmRelease) -> Mapping:
    """Map a deployment to arguments of ``LLM()`` in ``release``, with everything that is lost."""
    mapped = [*_of_engine(deployment), *_of_triton(deployment)]
    moot = [*_unfilled(deployment), *_gathered(deployment)]
    lost = [*_missing_engine(deployment), *_built_in(deployment)]
    lost += _queued(deployment)
    for key, value in sorted(deployment.parameters.items()):
        made = _parameter(key, value)
        if isinstance(made, Loss):
            lost.append(made)
        elif made is not None:
            (mapped if made.to else moot).append(made)
    known = [change for change in mapped if _accepts(release, change.to)]
    lost += [_unaccepted(change, release) for change in mapped if change not in known]
    tensors = {name: new for name in deployment.tensors if (new := _renamed(deployment, name))}
    gone = {*deployment.tensors} - tensors.keys() - _llm_api_tensors()
    lost += _adapters(gone)
    return Mapping(
        _nested(known), tuple(known), tuple(moot), tuple(lost), tensors, tuple(sorted(gone))
    )


def _renamed(deployment: LegacyDeployment, name: str) -> str:
    """Return a tensor's name in the LLM API, ``""`` if it is the same or there is none."""
    role = deployment.roles.get(name, name)
    new: str = table()["tensors"].get(role, role if role in _llm_api_tensors() else "")
    return "" if new == name else new


def _adapters(gone: Collection[str]) -> Iterator[Loss]:
    """Report that requests can no longer contain adapter weights."""
    if sent := sorted(name for name in gone if name.startswith("lora_")):
        yield Loss(
            ", ".join(sent),
            "",
            "adapters are chosen by name, not sent as tensors of a request",
            "name them when converting again: trtbuild convert --adapter NAME=DIRECTORY; "
            "clients send lora_name",
        )


@cache
def _llm_api_tensors() -> frozenset[str]:
    """Return the names of the tensors in the written model."""
    rows = tomllib.loads(template_dir("trtllm", "tensors.toml").read_text(encoding="utf-8"))
    return frozenset(row["name"] for part in ("input", "output") for row in rows[part])


def _of_engine(deployment: LegacyDeployment) -> Iterator[MappedParameter]:
    engine = deployment.engine
    if engine is None:
        return
    # In a build, an input as long as the whole sequence means "no separate limit".
    inputs = engine.max_input_len if engine.max_input_len < engine.max_seq_len else 0
    values: tuple[tuple[str, int | str, str, int | str], ...] = (
        ("tp_size", engine.tp, "tensor_parallel_size", 1),
        ("pp_size", engine.pp, "pipeline_parallel_size", 1),
        ("cp_size", engine.cp, "context_parallel_size", 1),
        ("max_batch_size", engine.max_batch_size, "max_batch_size", 0),
        ("max_input_len", inputs, "max_input_len", 0),
        ("max_seq_len", engine.max_seq_len, "max_seq_len", 0),
        ("max_num_tokens", engine.max_num_tokens, "max_num_tokens", 0),
        ("max_beam_width", engine.max_beam_width, "max_beam_width", 1),
        ("dtype", engine.dtype, "dtype", ""),
    )
    for key, value, to, silent in values:
        if value != silent:
            yield MappedParameter(f"engine {key}", str(value), to, value)


def _of_triton(deployment: LegacyDeployment) -> Iterator[MappedParameter]:
    if deployment.engine is None and deployment.max_batch_size:
        size = deployment.max_batch_size
        yield MappedParameter("max_batch_size", str(size), "max_batch_size", size)
    decoupled = deployment.decoupled
    yield MappedParameter("decoupled", str(decoupled).lower(), "triton_config.decoupled", decoupled)
    count = deployment.instances
    if count > 1:
        yield MappedParameter("instance_group count", str(count), "triton_config.instances", count)


def _parameter(key: str, value: str) -> MappedParameter | Loss | None:
    row = table()["parameter"].get(key)
    if row is None:
        return Loss(key, value, "the parameter is not known", "look up what it did")
    if "moot" in row:
        return MappedParameter(key, value, why=row["moot"])
    if "lost" in row:
        if value.lower() == row.get("unless", ""):
            return None
        return Loss(key, value, row["lost"], row["fix"])
    return _carried(row, key, value)


def _carried(row: MappingType[str, Any], key: str, value: str) -> MappedParameter | Loss:
    """Return a value known to the LLM API, unless the C++ backend never applied it."""
    fix = f"if it was meant, set {row['to']} yourself (--set)"
    setting = triton_parameters().get(key)
    try:
        new = _VALUES[row["as"]](value)
        if setting and setting.choices and value not in setting.choices:
            raise ValueError(value)
    except ValueError:
        choices = ", ".join(setting.choices) if setting else ""
        wanted = f"none of {choices}" if choices else f"no {row['as']}"
        what = f"{value!r} is {wanted}, which the C++ backend took for the default in silence"
        return Loss(key, value, what, fix)
    if problem := setting.text_problem(value) if setting else "":
        return Loss(key, value, problem, fix)
    return MappedParameter(key, value, row["to"], new)


def _bool(value: str) -> bool:
    if value not in _TRUE | _FALSE:
        raise ValueError(value)
    return value in _TRUE


_VALUES: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "bool": _bool,
    "ints": lambda value: [int(part) for part in value.split(",")],
    "text": str,
    "upper": str.upper,
}


def _unfilled(deployment: LegacyDeployment) -> Iterator[MappedParameter]:
    """Report an unfilled placeholder, which meant the default."""
    for key in deployment.unfilled:
        row = table()["parameter"].get(key, {})
        why = row.get("moot", "its placeholder was never filled in, so the default applied")
        yield MappedParameter(key, UNFILLED, why=why)


def _gathered(deployment: LegacyDeployment) -> Iterator[MappedParameter]:
    if delay := deployment.queue_delay:
        yield MappedParameter(
            "max_queue_delay_microseconds",
            str(delay),
            why="TensorRT-LLM batches requests itself (--set batch_wait_timeout_ms="
            f"{delay / 1000:g} if steps should wait for more)",
        )


def _missing_engine(deployment: LegacyDeployment) -> Iterator[Loss]:
    if deployment.engine is None:
        yield Loss(
            "engine",
            deployment.parameters.get("gpt_model_path", ""),
            f"its config.json is not at hand ({deployment.engine_problem}), so parallel sizes and "
            "lengths are unknown",
            "mount the engine's directory, or --set tensor_parallel_size, max_seq_len, …",
        )


def _built_in(deployment: LegacyDeployment) -> Iterator[Loss]:
    """Report what an engine has compiled in and a checkpoint or an argument must now define."""
    engine = deployment.engine
    if engine is None:
        return
    if engine.quantization:
        yield Loss(
            "engine quantization",
            engine.quantization,
            "the LLM API serves the checkpoint's own number format",
            "name a checkpoint quantized alike (--source), or make one: trtbuild quantize",
        )
    if engine.speculative:
        yield Loss(
            "engine speculative decoding",
            engine.speculative,
            "it was compiled in",
            "set speculative_config (--set), with a draft model",
        )
    if engine.lora:
        yield Loss(
            "engine lora",
            "true",
            "adapters are chosen by name, not sent as tensors of a request",
            "name them when converting again: trtbuild convert --adapter NAME=DIRECTORY",
        )


def _queued(deployment: LegacyDeployment) -> Iterator[Loss]:
    """Report queue settings: Triton does not queue for a model that batches itself."""
    if deployment.queue_size:
        yield Loss(
            "max_queue_size",
            str(deployment.queue_size),
            "Triton has no queue for it, so none is refused for its length",
            "limit in front of the server",
        )


def _accepts(release: TrtllmRelease, to: str) -> bool:
    group, _, name = to.partition(".")
    if group == "triton_config":
        return True
    if group not in release.arguments:
        return False
    kinds = release.groups.get(group)
    return not name or kinds is None or any(name in one for one in kinds.variants.values())


def _unaccepted(change: MappedParameter, release: TrtllmRelease) -> Loss:
    what = f"TensorRT-LLM {release.version} has no {change.to}"
    return Loss(change.key, change.old, what, "look for it in a newer release")


def _nested(changes: list[MappedParameter]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for change in changes:
        group, _, name = change.to.partition(".")
        if name:
            made.setdefault(group, {})[name] = change.new
        else:
            made[group] = change.new
    return made
