"""Autoscaling: metrics that exist, and one owner of the number of replicas."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.model import Severity
from trtbuild_deploy.rules.values import get, items

if TYPE_CHECKING:
    from trtbuild_deploy.rules.view import Document, Files, Replica

_DEPLOYMENT = "kind: Deployment\nmetadata: {name: a}\n"
_OBJECT = """\
kind: ScaledObject
metadata: {name: a}
spec:
  scaleTargetRef: {name: a}
  triggers:
    - type: prometheus
      metadata:
        query: %s
"""
_SCALED = _OBJECT + '        ignoreNullValues: "%s"\n'
_POD = """\
kind: Pod
metadata:
  annotations: {trtbuild.dev/builders: vllm}
  labels: {app.kubernetes.io/version: "26.07"}
---
"""
_OURS = re.compile(r"\b((?:vllm:|nv_|trtllm_|gen_ai_|trtbuild_gateway_)\w+)")
_SCALERS = ("ScaledObject", "HorizontalPodAutoscaler")


@rule(
    "DEP301",
    "an expression names metrics that the deployment exports",
    fix="use a signal that `trtbuild deploy facts` lists, or deploy the gateway",
    bad={"all.yaml": _POD + _SCALED % ("sum(vllm:num_requests_waiting)", "false")},
    good={"all.yaml": _POD + _SCALED % ("sum(vllm:e2e_request_latency_seconds_sum)", "false")},
)
def metric_exists(files: Files) -> Problems:
    """An expression over a metric that nobody exports has no result: nothing scales and no alert
    fires. NVIDIA's vLLM backend, for example, exports no queue. Builder and release are read from
    the pod's annotation and label; without them only names that nothing exports are reported."""
    from trtbuild_deploy.facts.metrics import known_families

    families = known_families()
    replicas = [replica for replica in files.replicas if replica.builders and replica.release]
    exported = _exported(replicas) if replicas else families
    for document in files.documents:
        for text in _expressions(document):
            named = dict.fromkeys(_OURS.findall(text))
            for name in named:
                stem = re.sub(r"_(bucket|sum|count)$", "", name)
                if not {name, stem} & exported:
                    where = _who(replicas) if {name, stem} & families else "nothing"
                    yield Problem(f"{where} exports no {name}", document.at("spec"))


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


def _expressions(document: Document) -> Iterator[str]:
    """Every expression of PromQL, and every metric's name, in a document."""
    if document.kind == "ScaledObject":
        for trigger in items(document.get("spec", "triggers")):
            yield str(get(trigger, "metadata", "query") or "")
    if document.kind == "HorizontalPodAutoscaler":
        for metric in items(document.get("spec", "metrics")):
            for kind in ("pods", "external", "object"):
                yield str(get(metric, kind, "metric", "name") or "")
    groups = document.get("spec", "groups") if document.kind else document.get("groups")
    if document.kind in ("", "PrometheusRule"):  # an object of the operator, or a rules file
        for group in items(groups):
            yield from (str(one.get("expr", "")) for one in items(group.get("rules")))


@rule(
    "DEP302",
    "a metric that vanished does not scale in",
    fix='add ignoreNullValues: "false" to the trigger, and a fallback',
    bad={"scaling.yaml": _OBJECT % "up"},
    good={"scaling.yaml": _SCALED % ("up", "false")},
    severity=Severity.WARNING,
)
def null_is_no_zero(files: Files) -> Problems:
    """KEDA takes a missing metric for 0 unless told otherwise, so an outage of Prometheus removes
    replicas that are busy."""
    for document in files.documents:
        if document.kind == "ScaledObject":
            for trigger in items(document.get("spec", "triggers")):
                given = get(trigger, "metadata", "ignoreNullValues")
                if trigger.get("type") == "prometheus" and given != "false":
                    yield Problem("a missing metric counts as 0", document.at("spec", "triggers"))


@rule(
    "DEP303",
    "an autoscaler alone sets the number of replicas",
    fix="leave spec.replicas out",
    bad={"a.yaml": f"{_DEPLOYMENT}spec: {{replicas: 2}}\n---\n" + _SCALED % ("up", "false")},
    good={"a.yaml": f"{_DEPLOYMENT}spec: {{}}\n---\n" + _SCALED % ("up", "false")},
)
def one_owner(files: Files) -> Problems:
    """Every rollout would reset the number that the autoscaler found."""
    scaled = {
        (document.get("spec", "scaleTargetRef", "kind") or "Deployment", name)
        for document in files.documents
        if document.kind in _SCALERS and (name := document.get("spec", "scaleTargetRef", "name"))
    }
    for document in files.documents:
        key = (document.kind, document.get("metadata", "name"))
        if key in scaled and document.get("spec", "replicas") is not None:
            yield Problem(
                f"{key[1]} has replicas and an autoscaler", document.at("spec", "replicas")
            )
