"""Wiring: selectors and ports that lead to a pod."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from trtbuild.check.engine import Problem, Problems, rule
from trtbuild_deploy.rules.values import get, items

if TYPE_CHECKING:
    from trtbuild_deploy.rules.view import Document, Files

_POD = """\
kind: Pod
metadata: {labels: {app: a}}
spec: {containers: [{name: c, ports: [{name: http, containerPort: 8000}]}]}
---
"""
_SERVICE = "kind: Service\nspec: {{selector: {{app: {}}}, ports: [{{port: 80, targetPort: {}}}]}}\n"
# Where each kind selects pods, and where it names their ports.
_SELECTORS = {
    "Service": ("spec", "selector"),
    "PodDisruptionBudget": ("spec", "selector", "matchLabels"),
    "PodMonitor": ("spec", "selector", "matchLabels"),
    "NetworkPolicy": ("spec", "podSelector", "matchLabels"),
}


def _selector(document: Document) -> Mapping[str, Any]:
    found = document.get(*_SELECTORS[document.kind])
    return found if isinstance(found, Mapping) else {}


@rule(
    "DEP201",
    "a selector matches a pod of the same files",
    fix="use the labels of the pod's template",
    bad={"all.yaml": _POD + _SERVICE.format("b", "http")},
    good={"all.yaml": _POD + _SERVICE.format("a", "http")},
)
def selector_matches(files: Files) -> Problems:
    """A Service, a budget, a monitor or a policy without a pod is valid and does nothing."""
    labels = [set(replica.labels.items()) for replica in files.replicas if replica.is_pod]
    for document in files.documents:
        if document.kind not in _SELECTORS or not labels:
            continue
        wanted = {
            (str(key), str(value))
            for key, value in _selector(document).items()
            if not str(key).startswith("leaderworkerset.")  # its controller adds them
        }
        if wanted and not any(wanted <= own for own in labels):
            name = document.get("metadata", "name") or document.kind
            pairs = ", ".join(f"{key}={value}" for key, value in sorted(wanted))
            yield Problem(f"{name} selects {pairs}, which no pod has", document.at("spec"))


@rule(
    "DEP202",
    "a port's name is one of a container",
    fix="name a port of the pod's containers",
    bad={"all.yaml": _POD + _SERVICE.format("a", "web")},
    good={"all.yaml": _POD + _SERVICE.format("a", "http")},
)
def port_resolves(files: Files) -> Problems:
    """A name that no container has is valid: the Service then has no endpoint, and Prometheus
    scrapes nothing."""
    known = {name for replica in files.replicas if replica.is_pod for name in replica.ports}
    if not known:
        return
    for document in files.documents:
        for name in _ports(document):
            if name not in known:
                yield Problem(
                    f"there is no port {name!r}; the containers have {', '.join(sorted(known))}",
                    document.at("spec"),
                )


def _ports(document: Document) -> Iterator[str]:
    """The names of container ports in a document; numbers always resolve."""
    spec = document.get("spec")
    if document.kind == "Service":
        found = [port.get("targetPort") for port in items(get(spec, "ports"))]
    elif document.kind == "PodMonitor":
        found = [port.get("port") for port in items(get(spec, "podMetricsEndpoints"))]
    elif document.kind == "NetworkPolicy":
        found = [
            port.get("port")
            for entry in items(get(spec, "ingress"))
            for port in items(entry.get("ports"))
        ]
    else:
        return
    yield from (name for name in found if isinstance(name, str) and not name.isdigit())
