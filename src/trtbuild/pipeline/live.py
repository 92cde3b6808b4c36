"""The live check of a repository: its stand-ins, and whether it may start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trtbuild import probe, server
from trtbuild.check import Finding, Report, Severity, artifact_rules
from trtbuild.client.transport import Protocol
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


def compare_running(
    repo: Path, model: str, address: str, progress: Progress = SILENT
) -> tuple[Finding, ...]:
    """Compare ``model``, or every model of ``repo``, with those of a running server.

    Args:
        repo: The repository.
        model: One model; empty: all.
        address: ``HOST:PORT`` for gRPC, ``http://HOST:PORT`` for HTTP, ``https://`` with TLS.
        progress: Called with each step.

    Raises:
        ServerError: Nothing answers there.
    """
    protocol: Protocol = "http" if address.startswith(("http://", "https://")) else "grpc"
    contents = server.read_contents(repo)
    models = (model,) if model else contents.models
    return probe.compare_running(contents.repo, models, address.rstrip("/"), protocol, progress)
