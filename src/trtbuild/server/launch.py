"""Start, watch and stop servers in any mode."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from trtbuild import process
from trtbuild.endings import uninterrupted
from trtbuild.errors import ServerError
from trtbuild.files import disk_trouble
from trtbuild.progress import SILENT, Progress
from trtbuild.server import docker, handle, logs, shm
from trtbuild.server.contents import Contents
from trtbuild.server.handle import ModeName, ServerHandle
from trtbuild.server.mode import LaunchOptions, Ports, ServerCommand, ServerJob, shell_line
from trtbuild.server.select import MODES

# A server gets this much longer than its own --exit-timeout-secs before it is killed.
_GRACE_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Stopped:
    """How a server stopped: whether by itself in time, and which leftovers were removed."""

    id: str
    in_time: bool
    swept: tuple[str, ...] = ()


def dry_run(contents: Contents, mode: ModeName, options: LaunchOptions) -> str:
    """Return the command that :func:`launch` would run, as a shell command; starts nothing."""
    return shell_line(_command(contents, mode, options, "000000", SILENT, dry=True))


def launch(
    contents: Contents,
    mode: ModeName,
    options: LaunchOptions,
    *,
    progress: Progress = SILENT,
) -> ServerHandle:
    """Start a server and return at once; see :func:`watch` for its state.

    Raises:
        ServerError: A port is taken, the runtime is broken, no container engine runs, …
        BuildError: The runtime could not be installed.
    """
    sweep_dead()
    server_id = handle.new_id()
    command = _command(contents, mode, options, server_id, progress)
    require_free(options.ports, options.host)
    folder = handle.folder(server_id)
    with disk_trouble(folder):
        folder.mkdir(parents=True, exist_ok=True)
        shm.ipc_folder(server_id).mkdir(mode=0o700, exist_ok=True)
    found: ServerHandle | None = None
    try:
        with uninterrupted():  # whatever was started must be known, to be stopped
            found = _started(command, server_id, contents, mode, options)
            handle.save(found)
    except BaseException:
        if found is not None:
            stop(found, deadline=0)
        raise
    return found


def _started(
    command: ServerCommand, id: str, contents: Contents, mode: ModeName, options: LaunchOptions
) -> ServerHandle:
    log_path = handle.folder(id) / "server.log"
    started = _spawn(command, id, log_path)
    return ServerHandle(
        id=id,
        mode=mode,
        pid=started,
        started=process.start_time(started),
        host=options.host,
        http_port=options.ports.http,
        grpc_port=options.ports.grpc,
        metrics_port=options.ports.metrics,
        log_path=str(log_path),
        repo=str(contents.repo),
        models=contents.models,
        argv=command.argv,
        container=command.container,
        tool=command.tool,
        stop_seconds=options.exit_seconds + _GRACE_SECONDS,
        rehearsal=options.rehearsal is not None,
    )


def _command(
    contents: Contents,
    mode: ModeName,
    options: LaunchOptions,
    server_id: str,
    progress: Progress,
    *,
    dry: bool = False,
) -> ServerCommand:
    folder = handle.folder(server_id)
    job = ServerJob(server_id, contents, options, folder, progress, dry_run=dry)
    return MODES[mode].command(job)


def _spawn(command: ServerCommand, server_id: str, log_path: Path) -> int:
    try:
        return process.spawn(command.argv, mark=server_id, env=command.env, log_path=log_path)
    except OSError as error:
        shutil.rmtree(log_path.parent, ignore_errors=True)
        raise ServerError(
            f"the server cannot be started: {error.strerror or error}", where=command.argv[0]
        ) from None


def require_free(ports: Ports, host: str) -> None:
    """Raise ServerError if ports are taken; it names each port and its owner."""
    wanted = {"HTTP": ports.http, "gRPC": ports.grpc, "metrics": ports.metrics}
    taken = [
        f"{name} port {port} is taken by {process.port_owner(port) or 'another program'}"
        for name, port in wanted.items()
        if not process.port_is_free(port, host)
    ]
    if taken:
        raise ServerError(
            taken[0],
            where=host,
            fix="stop it, choose other ports (--port N), or let free ones be taken (--port auto)",
            details=tuple(taken[1:]),
        )


def watch(server: ServerHandle) -> ServerHandle:
    """Return the server as it is now, with the shared memory it has created since.

    Raises:
        ServerError: It has ended; the error has the reason from its log.
    """
    require_alive(server)
    members = process.family(server.pid, server.started, server.id)
    foreign = tuple(sorted({*server.shm_files, *shm.foreign_files(members)}))
    if foreign == server.shm_files:
        return server
    current = replace(server, shm_files=foreign)
    handle.save(current)
    return current


def require_alive(server: ServerHandle) -> None:
    """Raise ServerError with the reason from its log if a server has ended."""
    if server.health == "dead":
        raise died(server)


def died(server: ServerHandle) -> ServerError:
    """Return the error of a server that ended, with the reason from its log."""
    reasons = logs.failure_reasons(Path(server.log_path))
    status = process.exit_status(server.pid)
    how = f" (exit status {status})" if status else ""
    return ServerError(
        f"the server ended while it was {'serving' if server.ready else 'loading'}{how}",
        where=server.log_path,
        details=reasons or ("it wrote no reason into its log",),
        fix="fix the cause above; `trtbuild logs` shows the full log",
    )


def mark_ready(server: ServerHandle) -> ServerHandle:
    """Record that every model has answered."""
    ready = replace(server, ready=True)
    handle.save(ready)
    return ready


def stop(server: ServerHandle, *, deadline: float | None = None) -> Stopped:
    """Stop a server, by force after ``deadline`` seconds, and remove what it left.

    Only its log remains: no process, no shared memory, no record. Ctrl-C while waiting stops it
    by force at once.
    """
    seconds = server.stop_seconds if deadline is None else deadline
    members = process.family(server.pid, server.started, server.id)
    foreign = {*server.shm_files, *shm.foreign_files(members)}
    try:
        in_time = _end_politely(server, seconds)
    except KeyboardInterrupt:
        in_time = False
    except PermissionError:
        raise ServerError(
            f"the server {server.id} belongs to another user",
            where=f"process {server.pid}",
            fix="stop it as that user, or as root",
        ) from None
    with uninterrupted():
        if server.container and not in_time:
            docker.remove(server.tool, server.container)
        process.terminate(server.pid, server.started, server.id, deadline=0)
        swept = shm.sweep(server.id, foreign)
        handle.forget(server)
    return Stopped(server.id, in_time, swept)


def _end_politely(server: ServerHandle, seconds: float) -> bool:
    if server.container and server.health != "dead":
        docker.stop(server.tool, server.container, int(seconds))
    return process.terminate(server.pid, server.started, server.id, deadline=seconds)


def sweep_dead(tell: Callable[[Stopped], None] = lambda _: None) -> None:
    """Clean up after servers that ended without :func:`stop`, as after a crash."""
    for server in handle.servers():
        if server.health == "dead":
            tell(stop(server, deadline=0))
    for server_id in shm.orphans(one.id for one in handle.servers()):
        tell(Stopped(server_id, False, shm.sweep(server_id)))
    shm.sweep_mailboxes()
