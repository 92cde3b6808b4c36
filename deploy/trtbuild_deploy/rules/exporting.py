"""Metrics in expressions, and whether a deployment exports them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trtbuild_deploy.rules.view import Files, Replica

_OURS = re.compile(r"\b((?:vllm:|nv_|trtllm_|gen_ai_|trtbuild_gateway_)\w+)")
# Names of labels can look like those of metrics: gen_ai_token_type.
_LABELS = re.compile(
    r'\{(?:[^{}"]|"(?:\\.|[^"\\])*")*\}'
    r"|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)"
)
_SUFFIX = re.compile(r"_(bucket|sum|count)$")


def missing_metrics(files: Files, expression: str) -> Iterator[str]:
    """Say of each metric in an expression that nothing here exports it.

    Builder and release are known where a replica lies beside; without one only names that nothing
    exports are reported.
    """
    from trtbuild_deploy.facts.metrics import known_families

    families = known_families()
    replicas = [replica for replica in files.replicas if replica.builders and replica.release]
    exported = _exported(replicas) if replicas else families
    for name in dict.fromkeys(_OURS.findall(_LABELS.sub("", expression))):
        stem = _SUFFIX.sub("", name)
        if not {name, stem} & exported:
            known = bool({name, stem} & families)
            yield f"{_who(replicas)} exports no {name}" if known else f"nothing exports {name}"


def _exported(replicas: list[Replica]) -> set[str]:
    from trtbuild_deploy.facts.metrics import Exporters, metrics_of

    return {
        name
        for replica in replicas
        for decoupled in (False, True)
        for name in metrics_of(
            Exporters(
                frozenset(replica.builders),
                replica.release,
                decoupled,
                gateway=replica.has_gateway,
            )
        ).families
    }


def _who(replicas: list[Replica]) -> str:
    one = replicas[0]
    return f"{', '.join(one.builders)} with Triton {one.release}"
