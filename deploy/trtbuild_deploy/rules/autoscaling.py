"""Autoscaling: metrics that exist, and one owner of the number of replicas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.model import Severity
from trtbuild_deploy.rules.exporting import missing_metrics
from trtbuild_deploy.rules.values import get, items

if TYPE_CHECKING:
    from trtbuild_deploy.rules.view import Document, Files

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
_SCALERS = ("ScaledObject", "HorizontalPodAutoscaler")


@rule(
    "DEP301",
    "an autoscaler asks for metrics that the deployment exports",
    fix="use a signal that `trtbuild deploy facts` lists, or deploy the gateway",
    bad={"all.yaml": _POD + _SCALED % ("sum(vllm:num_requests_waiting)", "false")},
    good={"all.yaml": _POD + _SCALED % ("sum(vllm:e2e_request_latency_seconds_sum)", "false")},
)
def metric_exists(files: Files) -> Problems:
    """An expression over a metric that nobody exports has no result, so nothing scales. NVIDIA's
    vLLM backend, for example, exports no queue. Builder and release are read from the pod's
    annotation and label; without them only names that nothing exports are reported."""
    for document in files.documents:
        for text in _expressions(document):
            for problem in missing_metrics(files, text):
                yield Problem(problem, document.at("spec"))


def _expressions(document: Document) -> Iterator[str]:
    """Every expression of PromQL, and every metric's name, that an autoscaler asks for."""
    if document.kind == "ScaledObject":
        for trigger in items(document.get("spec", "triggers")):
            yield str(get(trigger, "metadata", "query") or "")
    if document.kind == "HorizontalPodAutoscaler":
        for metric in items(document.get("spec", "metrics")):
            for kind in ("pods", "external", "object"):
                yield str(get(metric, kind, "metric", "name") or "")


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
