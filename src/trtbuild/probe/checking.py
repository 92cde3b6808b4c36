"""The live check from its server's start to its end."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from trtbuild import process, server
from trtbuild.check import Finding
from trtbuild.client import LLMClient
from trtbuild.client.failures import NoAnswerError
from trtbuild.errors import ServerError
from trtbuild.probe import asking, dying, loading, tensors
from trtbuild.probe.rules import ANSWERS, ENDS, LOADS, REHEARSED
from trtbuild.probe.standins import stand_ins
from trtbuild.probe.target import ProbedModel, finding
from trtbuild.progress import SILENT, Progress
from trtbuild.server import Contents, LaunchOptions, Ports, Rehearsal, ServerHandle
from trtbuild.signature import dialect_of

_START_SECONDS = 60.0
_SHORT_SECONDS = 3.0  # for a server that can no longer shut down properly
# Nothing is loaded at the start: each model is loaded separately and gets its own verdict.
_ARGUMENTS = (
    "--model-control-mode=explicit",
    "--exit-on-error=false",
    "--strict-readiness=false",
)


def live_check(
    repo: Path,
    models: Sequence[str],
    progress: Progress = SILENT,
    *,
    rehearsal: Rehearsal | None = None,
) -> tuple[Finding, ...]:
    """Load ``models`` of ``repo`` on an embedded server and try every one of them.

    Args:
        repo: A repository in which the validator found no error.
        models: Names; what they depend on is loaded with them.
        progress: Called with each step.
        rehearsal: The stand-ins for TensorRT-LLM, if a model needs them.

    Raises:
        ServerError: The runtime is broken, or does not support this machine.
        BuildError: The runtime could not be installed.
    """
    contents = server.read_contents(repo)
    with tempfile.TemporaryDirectory(prefix="trtbuild-live-") as folder:
        instead = stand_ins(contents, Path(folder))
        served = replace(contents, repo=instead.view or contents.repo, health_checked=False)
        options = LaunchOptions(
            ports=Ports(*process.free_ports(3, "127.0.0.1")),
            arguments=_ARGUMENTS,
            rehearsal=rehearsal,
            echo=instead.echo,
            short_lived=True,
        )
        found = [
            finding(contents.repo, name, REHEARSED, f"{name!r}: {why}")
            for name, why in instead.models.items()
            if name in models
        ]
        return (*found, *_served(served, contents.repo, models, options, progress))


def _served(
    contents: Contents,
    repo: Path,
    models: Sequence[str],
    options: LaunchOptions,
    progress: Progress,
) -> tuple[Finding, ...]:
    progress.step("starting a server for the live check")
    handle = server.launch(contents, "embedded", options, progress=progress)
    targets = [ProbedModel(name, repo, handle) for name in models]
    found: list[Finding] = []
    harmed = False
    try:
        _await(handle)
        engine = _try(targets, found, progress)
        if engine is not None:
            progress.step(f"stalling and killing the engine of {engine.name}")
            death = dying.stall_and_kill(engine)
            found += death.findings
            harmed = death.harmed
    finally:
        begun = time.monotonic()
        server.stop(handle, deadline=_SHORT_SECONDS if harmed else None)
    seconds = time.monotonic() - begun
    if seconds > options.exit_seconds and not harmed and targets:
        found.append(targets[0].finding(ENDS, f"the server took {seconds:.0f} s to end"))
    return tuple(found)


def _await(handle: ServerHandle) -> None:
    """Wait for the empty server; ServerError if it ends or does not start."""
    until = time.monotonic() + _START_SECONDS
    while not server.says_ready(handle):
        server.watch(handle)
        if time.monotonic() > until:
            raise ServerError(
                f"the server of the live check did not start within {_START_SECONDS:g} s",
                where=handle.log_path,
                fix="see `trtbuild runtime status`",
            )
        time.sleep(0.1)


def _try(
    targets: Sequence[ProbedModel], findings: list[Finding], progress: Progress
) -> ProbedModel | None:
    """Try each model in turn, adding to ``findings``; return the last LLM that answers, if any."""
    engine: ProbedModel | None = None
    members = {name for target in targets for name in target.members}
    for target in sorted(targets, key=_turn):
        if why := loading.gone(target):
            findings.append(target.finding(LOADS, f"{target.name!r} was not tried: {why}"))
            return None
        progress.step(f"loading {target.name}")
        if failed := list(loading.load(target)):
            findings += failed
            continue
        progress.step(f"trying {target.name}")
        told = list(_model(target, alone=target.name not in members and not target.is_part))
        findings += told
        if target.served.task.makes_text and not any(one.rule == ANSWERS.id for one in told):
            engine = target
    return engine


def _turn(target: ProbedModel) -> int:
    """Ensembles first, which load their members; then parts, which the server does not load with
    the model that calls them."""
    return 0 if target.members else 1 if target.is_part else 2


def _model(target: ProbedModel, *, alone: bool) -> Iterator[Finding]:
    """Return what is wrong with one model; without ``alone`` only from its metadata."""
    with LLMClient(target.handle.grpc_url, card=lambda _: target.served) as client:
        try:
            described = client.describe(target.name)
        except ServerError as error:
            yield target.finding(LOADS, f"it has no metadata: {error.what}")
            return
        yield from tensors.compare(target, described)
        if target.served.task.makes_text:
            yield from asking.try_llm(client, target)
        elif dialect_of(target.served) is not None:
            try:
                yield from asking.try_task(client, target)
            except NoAnswerError as error:
                yield target.finding(ANSWERS, error.what)
        elif alone:
            yield from asking.try_zeros(target)
