"""Instance groups: how many copies of a model, and where."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from trtbuild.check.autofix import Remove, Replace
from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import Example
from trtbuild.check.model import Severity


def _kind(group: Any) -> str:
    """The name of a group's kind; protobuf takes numbers that have none, too."""
    value = type(group).DESCRIPTOR.enum_types_by_name["Kind"].values_by_number.get(group.kind)
    return str(value.name) if value else str(group.kind)


def _said(model: Model, number: int) -> str:
    """What the server calls a group, with the blank after it."""
    name = model.config.instance_group[number].name or f"{model.called}_{number}"
    return f"instance group {name} of model {model.called} "


@rule(
    "TRT501",
    "only GPU instances name GPUs",
    fix="remove 'gpus', or use kind: KIND_GPU",
    mirrors="ValidateInstanceGroup",
    autofix=Remove(),
    bad="instance_group [ { kind: KIND_CPU gpus: [ 0 ] } ]",
    good="instance_group [ { kind: KIND_GPU gpus: [ 0 ] } ]",
)
def gpus_fit_kind(model: Model) -> Problems:
    """KIND_CPU uses no GPU, and a KIND_MODEL backend chooses its devices itself. KIND_AUTO means
    KIND_CPU on a server without the GPUs that it names."""
    for number, group in enumerate(model.config.instance_group):
        kind = _kind(group)
        if kind == "KIND_AUTO" and not _present(model, group.gpus):
            kind = "KIND_CPU"
        if group.gpus and kind in ("KIND_CPU", "KIND_MODEL"):
            yield Problem(
                f"{kind} with gpus {list(group.gpus)}",
                model.at("instance_group", number, "gpus"),
                server=f"{_said(model, number)}has kind {kind} but specifies one or more GPUs",
            )


def _present(model: Model, gpus: Iterable[int]) -> bool:
    """Whether the server has all these GPUs, as far as its number of them is known."""
    count = model.repository.options.gpus
    return count is None or all(0 <= gpu < count for gpu in gpus)


@rule(
    "TRT502",
    "profiles are for TensorRT",
    fix="remove 'profile'",
    mirrors="ValidateInstanceGroup",
    autofix=Remove(),
    bad='instance_group [ { kind: KIND_CPU profile: [ "1" ] } ]',
    good="instance_group [ { kind: KIND_CPU } ]",
)
def profiles(model: Model) -> Problems:
    """Optimization profiles belong to a TensorRT engine, and are named by their number. A number
    that does not fit into 32 bits crashes the server."""
    platform = model.completed.platform
    for number, group in enumerate(model.config.instance_group):
        at = ("instance_group", number, "profile")
        if group.profile and platform != "tensorrt_plan":
            yield Problem(
                f"profile {list(group.profile)} for a model of the backend {model.backend!r}",
                model.at(*at),
                server=f"{_said(model, number)}and platform {platform}specifies profile field "
                "which is only supported for TensorRT models",
            )
            continue
        for index, profile in enumerate(group.profile):
            refused = _profile_problem(profile)
            if refused is not None:
                message = f"profile {profile!r} is not the number of a profile"
                server = refused.format(group=_said(model, number), profile=profile)
                yield Problem(message, model.at(*at, index), server=server, fix='write "0"')


def _profile_problem(profile: str) -> str | None:
    """What the server says of a TensorRT profile, None if it is one."""
    if not profile:
        return "profile name must not be empty"
    match = re.match(r"\s*([+-]?[0-9]+)", profile, re.ASCII)
    if match is None:
        return "unable to parse '{profile}': stoi"
    if not -(2**31) <= int(match[1]) < 2**31:
        return ""
    return (
        None
        if int(match[1]) >= 0
        else "{group}and platform tensorrt_plan specifies invalid "
        "profile {profile}. The field should contain the string representation of a non-negative "
        "integer."
    )


@rule(
    "TRT503",
    "an ensemble has no instances",
    fix="remove instance_group",
    mirrors="ValidateEnsembleSchedulingConfig",
    autofix=Remove(),
    bad=Example("instance_group [ { count: 1 } ]", base="ensemble"),
    good=Example('platform: "ensemble"', base="ensemble"),
)
def ensemble_instances(model: Model) -> Problems:
    """An ensemble is only a graph; its members have instances."""
    if model.config.platform == "ensemble" and model.config.instance_group:
        yield Problem(
            "an ensemble with instance_group",
            model.at("instance_group", name=True),
            server=f"instance group should not be specified for ensemble '{model.called}'",
        )


@rule(
    "TRT504",
    "the number of instances is at least 1",
    fix="write count: 1, or remove it",
    severity=Severity.WARNING,
    autofix=Replace("1"),
    bad="instance_group [ { count: 0 kind: KIND_CPU } ]",
    good="instance_group [ { count: 1 kind: KIND_CPU } ]",
)
def count_is_positive(model: Model) -> Problems:
    """The server replaces a count below 1 by its default."""
    for number, group in enumerate(model.config.instance_group):
        if model.positions.has("instance_group", number, "count") and group.count < 1:
            yield Problem(f"count is {group.count}", model.at("instance_group", number, "count"))


@rule(
    "TRT505",
    "the server has the GPUs",
    fix="use kind: KIND_CPU, or deploy on a machine with these GPUs",
    mirrors="ValidateInstanceGroup",
    bad=Example("instance_group [ { kind: KIND_GPU } ]", gpus=0),
    good=Example("instance_group [ { kind: KIND_GPU gpus: [ 1 ] } ]", gpus=2),
)
def gpus_are_there(model: Model) -> Problems:
    """KIND_GPU needs at least one GPU, and the ones that ``gpus`` names. Checked when the number
    of GPUs is known."""
    for number, group in enumerate(model.config.instance_group):
        if _kind(group) != "KIND_GPU":
            continue
        if not group.gpus and model.repository.options.gpus == 0:
            yield Problem(
                "KIND_GPU, but the server has no GPU",
                model.at("instance_group", number, "kind"),
                server=f"{_said(model, number)}has kind KIND_GPU but no GPUs are available",
            )
        for index, gpu in enumerate(group.gpus):
            if not _present(model, [gpu]):
                yield Problem(
                    f"GPU {gpu}, but the server has {model.repository.options.gpus}",
                    model.at("instance_group", number, "gpus", index),
                    server=f"{_said(model, number)}specifies invalid or unsupported gpu id {gpu}. "
                    "GPUs with at least the minimum required CUDA compute compatibility of",
                )


@rule(
    "TRT506",
    "the kind of an instance group exists",
    fix="use KIND_CPU, KIND_GPU, KIND_MODEL or KIND_AUTO",
    mirrors="ValidateInstanceGroup",
    bad="instance_group [ { kind: 7 } ]",
    good="instance_group [ { kind: KIND_CPU } ]",
)
def kind_is_known(model: Model) -> Problems:
    """Protobuf accepts any number for an enumeration; the server does not."""
    for number, group in enumerate(model.config.instance_group):
        if _kind(group).isdigit() or group.kind < 0:
            yield Problem(
                f"unknown kind {group.kind}",
                model.at("instance_group", number, "kind"),
                server=f"{_said(model, number)}has unexpected kind KIND_AUTO",
            )
