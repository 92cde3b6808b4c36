"""Monitoring: alerts and panels over series that exist."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.model import Severity
from trtbuild_deploy.rules.exporting import missing_metrics
from trtbuild_deploy.rules.values import get, items

if TYPE_CHECKING:
    from trtbuild_deploy.rules.view import Document, Files

_Path = tuple[str | int, ...]

_RULES = """\
groups:
  - name: a
    rules:
      - record: trtbuild:queue
        expr: sum by (model) (vllm:num_requests_waiting)
      - alert: QueueLong
        expr: %s > 16
        for: 5m
        labels: {severity: %s}
"""
_RECORDED = re.compile(r"\btrtbuild:\w+")
_COUNTERS = re.compile(r"\bnv_inference_request_(?:success|failure|duration_us)\b")
# The backend of ONNX Runtime reports each request that it fails
# (https://github.com/triton-inference-server/onnxruntime_backend, src/onnxruntime.cc).
_COUNTED = frozenset({"onnx"})
_NOT_BACKEND = re.compile(r"reason\s*=~?\s*\"[^\"]*BACKEND")


@rule(
    "OBS101",
    "a rule and a panel name metrics that somebody exports",
    fix="use a signal that `trtbuild deploy facts` lists, or deploy the gateway",
    bad={"rules.yaml": _RULES % ("vllm:num_requests_wating", "page")},
    good={"rules.yaml": _RULES % ("vllm:num_requests_waiting", "page")},
)
def metric_is_exported(files: Files) -> Problems:
    """An alert over a metric that nobody exports never fires, and a panel stays empty: both look
    healthy. Which metrics a builder exports in a release is a table; where no replica lies beside
    the rules, only names that nothing exports are reported."""
    for document in files.documents:
        for path, expression in _expressions(document):
            for problem in missing_metrics(files, expression):
                yield Problem(problem, document.at(*path))


@rule(
    "OBS102",
    "an alert over a recorded series has the rule that records it",
    fix="write the recording rule beside it, or ask for the metrics themselves",
    bad={"rules.yaml": _RULES % ("trtbuild:kv_cache", "page")},
    good={"rules.yaml": _RULES % ("trtbuild:queue", "page")},
)
def series_is_recorded(files: Files) -> Problems:
    """`trtbuild observe` leaves out signals whose metrics do not exist. An alert that was copied
    from another deployment then waits for a series that nobody records, and never fires. The rule
    that records it may be in another file of the directory."""
    for document in files.documents:
        for path, one in _rules(document):
            for name in dict.fromkeys(_RECORDED.findall(str(one.get("expr", "")))):
                if name not in files.recorded:
                    yield Problem(f"nothing records {name}", document.at(*path, "expr"))


@rule(
    "OBS103",
    "errors and times of language models are not taken from Triton's counters",
    fix="use the gateway's metrics or the engine's; the reason BACKEND tells a dead backend",
    bad={"rules.yaml": _RULES % ("rate(nv_inference_request_failure[5m])", "page")},
    good={
        "rules.yaml": _RULES % ('rate(nv_inference_request_failure{reason="BACKEND"}[5m])', "page")
    },
    severity=Severity.WARNING,
)
def counters_are_not_trusted(files: Files) -> Problems:
    """Triton counts a request as a success when `execute()` returns, before a decoupled model has
    answered: a failed answer is a success, and the duration is not that of the answer. Only a dead
    backend is counted as a failure, with the reason BACKEND (measured with 24.10). The rule
    does not apply to a directory that deploys ONNX models only: ONNX Runtime's backend reports
    every request that it fails."""
    if files.builders and files.builders <= _COUNTED:
        return
    for document in files.documents:
        for path, one in _rules(document):
            text = str(one.get("expr", ""))
            unseen = "absent(" in text or _NOT_BACKEND.search(text)
            if "alert" in one and not unseen and (found := _COUNTERS.search(text)):
                yield Problem(
                    f"{found[0]} does not see a failed answer", document.at(*path, "expr")
                )


def recorded_series(documents: Iterable[Document]) -> Iterator[str]:
    """Yield the names that recording rules give."""
    for document in documents:
        yield from (str(one["record"]) for _, one in _rules(document) if "record" in one)


def _rules(document: Document) -> Iterator[tuple[_Path, Any]]:
    """The rules of a rules file or an object of the operator, each with its path."""
    if document.kind not in ("", "PrometheusRule"):
        return
    start: _Path = ("spec", "groups") if document.kind else ("groups",)
    for number, group in enumerate(items(document.get(*start))):
        for place, one in enumerate(items(group.get("rules"))):
            yield (*start, number, "rules", place), one


def _expressions(document: Document) -> Iterator[tuple[_Path, str]]:
    """Every expression of a rules file and of a dashboard, with its path."""
    for path, one in _rules(document):
        yield (*path, "expr"), str(one.get("expr", ""))
    yield from _of_panels(document.value, ())


def _of_panels(value: Any, path: _Path) -> Iterator[tuple[_Path, str]]:
    """Rows hold panels, too."""
    for number, panel in enumerate(items(get(value, "panels"))):
        own: _Path = (*path, "panels", number)
        for place, target in enumerate(items(panel.get("targets"))):
            yield (*own, "targets", place, "expr"), str(target.get("expr", ""))
        yield from _of_panels(panel, own)
