"""The live check of a repository: its stand-ins, and whether it may start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trtbuild import probe, server
from trtbuild.check import Finding, Report, Severity, artifact_rules
from trtbuild.pipeline.rehearse import find_checkpoints
from trtbuild.progress import SILENT, Progress


def may_start(report: Report) -> bool:
    """Whether no finding would stop a server; a missing engine is rehearsed."""
    rehearsed = artifact_rules()
    return all(
        found.severity is not Severity.ERROR or found.rule in rehearsed for found in report.findings
    )


def live_check(
    repo: Path,
    model: str = "",
    *,
    checkpoints: Mapping[str, str] | None = None,
    progress: Progress = SILENT,
) -> tuple[Finding, ...]:
    """Try ``model``, or every model of ``repo``, on a separate server.

    Args:
        repo: The repository.
        model: One model; empty: all.
        checkpoints: What models that run TensorRT-LLM are rehearsed with, if the lock does not
            know; see :func:`trtbuild.pipeline.rehearse.find_checkpoints`.
        progress: Called with each step.

    Raises:
        UsageError: A checkpoint is neither given nor known.
        ServerError: No server can be started here.
    """
    contents = server.read_contents(repo)
    rehearsal = None
    if contents.trtllm:
        rehearsal = find_checkpoints(contents, checkpoints or {}, progress)
    models = (model,) if model else contents.models
    return probe.live_check(contents.repo, models, progress, rehearsal=rehearsal)
