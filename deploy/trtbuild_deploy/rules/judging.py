"""Judging a directory of deployment files: manifests, Compose files, a chart, monitoring."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trtbuild.check.engine import Rule, clean
from trtbuild.check.families import judged_by
from trtbuild.check.model import Finding, Report, Severity
from trtbuild.check.options import Options

if TYPE_CHECKING:
    from trtbuild_deploy.rules.view import Document, Files

_DEPLOYMENT, _MONITORING = "DEP", "OBS"
_UNREADABLE = "DEP000"
_LONGEST = 4 << 20  # bytes of a file


@judged_by(_MONITORING)
@judged_by(_DEPLOYMENT)
def judge(root: Path, options: Options = Options()) -> Report:  # noqa: ARG001 - no server is asked
    """Apply the rules to every file below ``root``; what is wrong is in the report."""
    return judge_files(root)[0]


def judge_files(root: Path, takes: Callable[[Rule], bool] = bool) -> tuple[Report, tuple[str, ...]]:
    """The report on a directory, and what was looked at: files, and values of a chart."""
    from trtbuild_deploy.rules import chart
    from trtbuild_deploy.rules.monitoring import recorded_series
    from trtbuild_deploy.rules.view import files_of

    read = [(path.relative_to(root).as_posix(), *_read(path)) for path in _paths(root)]
    is_chart, helm = chart.is_chart(root), shutil.which("helm")
    if is_chart and helm:
        read += [
            (name, "", *_documents(text, problem))
            for name, text, problem in chart.rendered(root, helm)
        ]
    every = [one for _, _, documents, _ in read for one in documents]
    known = files_of(every, frozenset(recorded_series(every)))
    found: list[Finding] = []
    for name, text, of_file, problem in read:
        found += (
            [unreadable(name, problem)] if problem else _apply(of_file, name, text, takes, known)
        )
    if is_chart and helm is None:
        found.append(_not_rendered())
    findings = tuple(replace(one, repository=str(root)) for one in found)
    return Report(repositories=(str(root),)).with_findings(findings), tuple(one[0] for one in read)


def _apply(
    documents: Sequence[Document],
    name: str,
    text: str,
    takes: Callable[[Rule], bool],
    known: Files,
) -> tuple[Finding, ...]:
    from trtbuild.check.running import run_on_file
    from trtbuild_deploy.rules.view import files_of

    files = files_of(documents, known.recorded, known.builders)
    return tuple(
        found
        for family in (_DEPLOYMENT, _MONITORING)
        for found in run_on_file(family, files, name, text, takes)
    )


def _paths(root: Path) -> Iterator[Path]:
    """The YAML files, without a chart's templates and values, and dashboards of Grafana."""
    charts = [path.parent for path in root.rglob("Chart.yaml")]
    for path in sorted(root.rglob("*.y*ml")):
        inside = any(chart in path.parents for chart in charts)
        if not inside and not path.name.startswith("values") and path.is_file():
            yield path
    for path in sorted(root.rglob("*.json")):
        if path.is_file() and path.stat().st_size <= _LONGEST and b'"panels"' in path.read_bytes():
            yield path


def _read(path: Path) -> tuple[str, tuple[Document, ...], str]:
    try:
        if path.stat().st_size > _LONGEST:
            return "", (), f"it has more than {_LONGEST >> 20} MiB"
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return "", (), str(error)
    documents, problem = _documents(text)
    return text, documents, problem


def _documents(text: str, problem: str = "") -> tuple[tuple[Document, ...], str]:
    import yaml

    from trtbuild.located import yamltext
    from trtbuild_deploy.rules.view import Document

    found: list[Document] = []
    if problem:
        return (), problem
    try:
        for node in yaml.compose_all(text, Loader=yamltext.Loader):
            value = yamltext.construct(node)
            if isinstance(value, dict):
                found.append(Document(value, node))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return (), " ".join(str(error).split()) or "it is nested too deeply"
    return tuple(found), ""


def unreadable(name: str, problem: str, line: int = 0) -> Finding:
    """A file that cannot be judged, and why."""
    message = f"{name} cannot be judged: {problem}"
    fix = "correct the file"
    return Finding(_UNREADABLE, Severity.ERROR, "", clean(name), line, 0, clean(message), "", fix)


def _not_rendered() -> Finding:
    message = "helm is not on the PATH, so the chart was not rendered and not judged"
    fix = "install helm 3.14 or newer and check again"
    return Finding(_UNREADABLE, Severity.WARNING, "", "chart", 0, 0, message, "", fix)
