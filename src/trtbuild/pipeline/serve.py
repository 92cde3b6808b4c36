"""Serve a repository: check it, choose a mode, start, and wait until every model answers."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from trtbuild import check, hardware, server
from trtbuild.check.model import Finding, Report, Severity
from trtbuild.client import wait_ready
from trtbuild.client.reference import require_reference
from trtbuild.errors import RepositoryError, ServerError, UsageError
from trtbuild.pipeline.condition import dead_engines, explained
from trtbuild.pipeline.rehearse import find_checkpoints
from trtbuild.process import Guard
from trtbuild.progress import SILENT, Progress
from trtbuild.repository import served_model
from trtbuild.server import Choice, Contents, LaunchOptions, ServerHandle, logs, runtime

AUTO = "auto"
_POLL_SECONDS = 0.2
# Seconds between looks for shared memory: short after the start, long later.
_FIRST_LOOK, _LAST_LOOK = 1.0, 30.0
# What our vLLM backend logs when its engine has ended.
_ENGINE_DIED = "[vllm] the engine died"
_STOP_SECONDS = 10.0  # for a server that nobody is waiting for


@dataclass(frozen=True, slots=True)
class ServePlan:
    """What will be started, decided before anything starts."""

    contents: Contents
    choice: Choice
    options: LaunchOptions


def prepare(
    repo: Path,
    *,
    mode: str = AUTO,
    options: LaunchOptions,
    validate: bool = True,
    rehearse: bool = False,
    checkpoints: Mapping[str, str] | None = None,
    progress: Progress = SILENT,
) -> ServePlan:
    """Decide how to serve ``repo``.

    Args:
        repo: Model repository.
        mode: ``auto``, ``local``, ``embedded`` or ``docker``.
        options: Launch options.
        validate: Refuse a repository that would not load.
        rehearse: Run stand-ins for TensorRT-LLM, on the embedded server.
        checkpoints: Their sources by model, see :func:`rehearse.find_checkpoints`.
        progress: Called before a slow step.

    Raises:
        RepositoryError: It would not load; the error has every finding.
        UsageError: An unknown mode, or an impossible rehearsal.
        ServerError: No mode is possible here.
    """
    contents = server.read_contents(repo)
    if validate:
        allowed = check.artifact_rules() if rehearse else frozenset()
        require_valid(
            contents.repo,
            auto_complete=options.auto_complete,
            sm=0 if rehearse else next((gpu.sm for gpu in hardware.detect()), 0),
            allowed=allowed,
            progress=progress,
        )
    if rehearse:
        if mode not in (AUTO, "embedded"):
            raise UsageError(
                f"a rehearsal runs on the embedded server, not in mode {mode!r}",
                fix="leave out --mode or --rehearse",
            )
        rehearsal = find_checkpoints(contents, checkpoints or {}, progress)
        choice = server.choose("embedded", has_gpu=False)
        return ServePlan(contents, choice, replace(options, rehearsal=rehearsal))
    if checkpoints:
        raise UsageError("--checkpoint needs --rehearse", fix="add --rehearse")
    gpus = hardware.detect()
    options = replace(options, gpu_count=_seen(options.gpus, len(gpus)))
    return ServePlan(contents, server.choose(mode, has_gpu=bool(gpus)), options)


def _seen(gpus: str, detected: int) -> int:
    """Return the GPUs that the server will see."""
    return detected if gpus == "all" else 0 if gpus == "none" else len(gpus.split(","))


def require_valid(
    repo: Path,
    *,
    auto_complete: bool = False,
    sm: int = 0,
    allowed: frozenset[str] = frozenset(),
    progress: Progress = SILENT,
) -> Report:
    """Return the report; raise RepositoryError if a finding in it stops a server.

    ``sm`` is the compute capability of this machine's GPU, ``allowed`` are rules whose findings
    do not stop it.
    """
    progress.step("validating the repository")
    report = check.validate(repo, auto_complete=auto_complete, sm=sm, progress=progress)
    errors = [
        found
        for found in report.findings
        if found.severity is Severity.ERROR and found.rule not in allowed
    ]
    if errors:
        # A member that does not load also stops its ensemble; the member is what needs a fix.
        follow = check.following_rules()
        cause = next((found for found in errors if found.rule not in follow), errors[0])
        raise RepositoryError(
            f"the repository would not load: {len(errors)} "
            f"{'error' if len(errors) == 1 else 'errors'}",
            where=str(repo),
            details=tuple(_line(found) for found in errors),
            fix=cause.fix or "see `trtbuild validate`; --no-validate starts it anyway",
        )
    return report


def _line(finding: Finding) -> str:
    place = ":".join(str(part) for part in (finding.file, finding.line, finding.column) if part)
    return f"{place}: {finding.message} ({finding.rule})" if place else finding.message


def command_line(plan: ServePlan) -> str:
    """Return what :func:`start` would run, as a shell command."""
    return server.dry_run(plan.contents, plan.choice.mode, plan.options)


def start(
    plan: ServePlan,
    *,
    timeout: float,
    progress: Progress = SILENT,
    on_line: Callable[[str], None] = lambda _: None,
) -> ServerHandle:
    """Start the server and wait until each model has answered a real inference.

    Args:
        plan: From :func:`prepare`.
        timeout: Seconds for loading, without the installation of the runtime.
        progress: Called for the installation and for each model while waiting.
        on_line: Called with each line of the log.

    Raises:
        ServerError: It did not start, ended, or was not ready in time, and was cleaned up.
    """
    if plan.choice.mode == "embedded":
        # Before the port check and the timeout, because an installation takes minutes.
        vllm = server.needs_vllm(plan.contents, plan.options)
        runtime.ensure(progress, vllm=vllm, torch_index=plan.options.torch_index)
    elif plan.contents.trtllm:
        _require_startable(plan)
    found = server.launch(plan.contents, plan.choice.mode, plan.options, progress=progress)
    with stopped_on_failure(found):
        watch = _Watcher(found, on_line)
        try:
            _wait(watch, timeout, progress)
        except ServerError as error:
            raise explained(error, found) from None
        ready = server.mark_ready(_known(found))
        watch()
    return ready


def _require_startable(plan: ServePlan) -> None:
    """Raise ServerError with everything that keeps the ranks of TensorRT-LLM from starting."""
    contents, options = plan.contents, plan.options
    layout = server.lay_out(contents, options.launch)
    docker = plan.choice.mode == "docker"
    shm = server.shm_option(options.shm_size) if docker else server.shm_bytes()
    server.require_startable(contents, layout, gpus=options.gpu_count, shm_bytes=shm)


@contextmanager
def stopped_on_failure(
    handle: ServerHandle, *, deadline: float | None = _STOP_SECONDS
) -> Iterator[None]:
    """Stop the server if the block raises, also Ctrl-C, and if we are killed in it.

    ``deadline`` None: the server's own.
    """
    by_hand = [sys.executable, "-m", "trtbuild", "stop", handle.id]
    by_hand += [] if deadline is None else ["--timeout", str(deadline)]
    with ExitStack() as held:
        try:
            held.enter_context(Guard(by_hand))
            yield
        except BaseException:
            server.stop(_known(handle), deadline=deadline)
            raise


def _known(handle: ServerHandle) -> ServerHandle:
    """Return the newest record of the server, because watching updates it."""
    return next((one for one in server.servers() if one.id == handle.id), handle)


class _Watcher:
    """Passes on a server's log and checks that it is alive. Looks for shared memory less and less
    often, because that reads the memory maps of all its processes."""

    def __init__(
        self, handle: ServerHandle, on_line: Callable[[str], None], *, from_end: bool = False
    ) -> None:
        self.handle = handle
        self.follower = logs.Follower(Path(handle.log_path), from_end=from_end)
        self.died = False
        self._on_line = on_line
        self._pause, self._next = _FIRST_LOOK, 0.0

    def __call__(self) -> None:
        """Look once; raise ServerError if the server has ended."""
        for line in self.follower.lines():
            self.died = self.died or _ENGINE_DIED in line
            self._on_line(line)
        now = time.monotonic()
        if now < self._next:
            server.require_alive(self.handle)
            return
        self.handle = server.watch(self.handle)
        self._next = now + self._pause
        self._pause = min(2 * self._pause, _LAST_LOOK)


def _wait(watch: _Watcher, timeout: float, progress: Progress) -> None:
    handle, until = watch.handle, time.monotonic() + timeout
    progress.step(f"loading {', '.join(handle.models)}")
    # Over HTTP first: after a few refused connections a gRPC channel backs off longer and longer,
    # and would not notice a ready server for half a minute.
    while not server.says_ready(handle):
        watch()
        if time.monotonic() > until:
            raise _too_slow(handle, timeout)
        time.sleep(_POLL_SECONDS)
    left = max(1.0, until - time.monotonic())
    repo = Path(handle.repo)
    wait_ready(
        handle.grpc_url,
        handle.models,
        left,
        card=lambda name: served_model(repo, name),
        watch=watch,
        progress=progress,
    )
    found = {name: model for name in handle.models if (model := served_model(repo, name))}
    if names := require_reference(handle.grpc_url, found, repo):
        progress.step(f"answers of {', '.join(names)} equal the reference")


def _too_slow(handle: ServerHandle, timeout: float) -> ServerError:
    return ServerError(
        f"the server was not ready within {timeout:g} s",
        where=handle.log_path,
        details=logs.last_lines(Path(handle.log_path)),
        fix="allow more time (--timeout SECONDS); the log above shows what it was doing",
    )


def stay(
    handle: ServerHandle,
    on_line: Callable[[str], None] = lambda _: None,
    begin: Callable[[], None] = lambda: None,
    stopping: Callable[[], None] = lambda: None,
    *,
    poll: float = 0.25,
) -> None:
    """Call ``begin``, and pass on the server's log until it ends (ServerError) or Ctrl-C, which
    calls ``stopping`` and stops it. Also stop it when the engines of all its models are dead."""
    with stopped_on_failure(handle, deadline=None):
        try:
            watch = _Watcher(handle, on_line, from_end=True)
            begin()
            while True:
                watch()
                if watch.died and set(server.lost_models(handle)) == set(handle.models):
                    raise dead_engines(handle)
                time.sleep(poll)
        except KeyboardInterrupt:
            stopping()
            raise
