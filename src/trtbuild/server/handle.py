"""Records of servers: one JSON file each, so that later commands find them."""

from __future__ import annotations

import json
import secrets
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from trtbuild import process
from trtbuild.errors import UsageError
from trtbuild.files import atomic_write, disk_trouble
from trtbuild.resources import state_dir

ModeName = Literal["local", "embedded", "docker"]
Health = Literal["starting", "ready", "dead"]

# What every command relies on in a record that anybody may have changed.
_KINDS = {"id": str, "pid": int, "started": float, "host": str, "log_path": str, "repo": str}
# Logs are kept after their servers end, because that is when they are read, but not forever.
_LOGS_KEPT = 20


@dataclass(frozen=True, slots=True)
class ServerHandle:
    """A server as its record describes it.

    Attributes:
        id: Six hex digits; part of its shared memory names and of its container's name.
        pid: Its first process (of ``docker run`` in docker mode), leader of its session.
        started: When that process began, in seconds since the epoch; detects a reused pid.
        host: The address its ports listen on.
        container: Name of its container, empty without one.
        tool: ``docker`` or ``podman`` in docker mode.
        ready: Whether every model has answered.
        stop_seconds: How long it may take to exit by itself.
        shm_files: Shared memory of its processes under names we did not choose.
        rehearsal: Whether stand-ins run in place of TensorRT-LLM.
    """

    id: str
    mode: ModeName
    pid: int
    started: float
    host: str
    http_port: int
    grpc_port: int
    metrics_port: int
    log_path: str
    repo: str
    models: tuple[str, ...]
    argv: tuple[str, ...] = ()
    container: str = ""
    tool: str = ""
    ready: bool = False
    stop_seconds: float = 40.0
    shm_files: tuple[str, ...] = ()
    rehearsal: bool = False

    @property
    def health(self) -> Health:
        """``dead`` once its first process is gone."""
        if not process.is_alive(self.pid, self.started, self.id):
            return "dead"
        return "ready" if self.ready else "starting"

    @property
    def connect_host(self) -> str:
        """The address to connect to: the loopback if it listens on all addresses."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104

    @property
    def http_url(self) -> str:
        """``HOST:PORT`` of HTTP."""
        return self._url(self.http_port)

    @property
    def grpc_url(self) -> str:
        """``HOST:PORT`` of gRPC."""
        return self._url(self.grpc_port)

    @property
    def metrics_url(self) -> str:
        """``HOST:PORT`` of the metrics."""
        return self._url(self.metrics_port)

    def _url(self, port: int) -> str:
        host = self.connect_host
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def new_id() -> str:
    """Return a new id for a server."""
    return secrets.token_hex(3)


def home() -> Path:
    """Return the directory of all records."""
    return state_dir("servers")


def folder(server_id: str) -> Path:
    """Return the directory of one server, with its log and the files made for it."""
    return home() / server_id


def save(handle: ServerHandle) -> None:
    """Write or replace a record."""
    with disk_trouble(home()):
        atomic_write(_record(handle.id), json.dumps(asdict(handle), indent=1).encode())


def servers() -> tuple[ServerHandle, ...]:
    """Return every record, the newest server first; damaged records are skipped."""
    found = [_read(path) for path in home().glob("*.json")]
    handles = [handle for handle in found if handle is not None]
    return tuple(sorted(handles, key=lambda handle: handle.started, reverse=True))


def find(server_id: str = "") -> ServerHandle:
    """Return the server with this id or a unique prefix of it; without an id, the only server.

    Raises:
        UsageError: None, or several.
    """
    known = servers()
    matching = [handle for handle in known if handle.id.startswith(server_id)]
    if len(matching) == 1:
        return matching[0]
    if not known:
        raise UsageError("no server is running", fix="start one: trtbuild serve")
    ids = ", ".join(f"{handle.id} ({Path(handle.repo).name})" for handle in known)
    what = "several servers match" if matching else f"no server {server_id!r}"
    raise UsageError(what, fix=f"name one of: {ids}")


def forget(handle: ServerHandle) -> None:
    """Remove a record and everything made for the server except its log."""
    with disk_trouble(home()):
        _record(handle.id).unlink(missing_ok=True)
    for made in ("view", "rehearsal", "observed"):
        shutil.rmtree(folder(handle.id) / made, ignore_errors=True)
    prune_logs()


def latest_log(server_id: str = "") -> Path:
    """Return the log of a server, even if the server is gone; without an id the newest.

    Raises:
        UsageError: There is no such log.
    """
    logs = [path for path in _logs() if path.parent.name.startswith(server_id)]
    if not logs:
        raise UsageError(
            f"there is no log of a server {server_id!r}"
            if server_id
            else "no server has left a log",
            fix="see the servers with `trtbuild status`",
        )
    return logs[0]


def prune_logs() -> None:
    """Keep the newest logs of servers that are gone."""
    alive = {path.stem for path in home().glob("*.json")}
    old = [path.parent for path in _logs() if path.parent.name not in alive]
    for directory in old[_LOGS_KEPT:]:
        shutil.rmtree(directory, ignore_errors=True)


def _logs() -> list[Path]:
    found = []
    for path in home().glob("*/server.log"):
        try:
            found.append((path.stat().st_mtime, path))
        except OSError:  # another trtbuild pruned it
            continue
    return [path for _, path in sorted(found, reverse=True)]


def _record(server_id: str) -> Path:
    return home() / f"{server_id}.json"


def _read(path: Path) -> ServerHandle | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        for name in ("models", "argv", "shm_files"):
            found[name] = tuple(map(str, found[name]))
        handle = ServerHandle(**found)
        sound = all(isinstance(getattr(handle, key), kind) for key, kind in _KINDS.items())
        return handle if sound else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
