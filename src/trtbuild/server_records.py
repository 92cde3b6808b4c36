"""The servers of this machine, from the records in the state directory."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import psutil

from trtbuild import resources
from trtbuild.wire.failures import UNREADABLE

_MARK = "TRTBUILD_SERVER_ID"  # see process.programs
_SAME_START = 0.5  # seconds
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what asks them all


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """A running server: its address and its repository. ``host`` is as a URL has it."""

    id: str
    host: str
    http_port: int
    grpc_port: int
    metrics_port: int
    models: tuple[str, ...]
    repo: str
    pid: int
    started: float

    def url(self, protocol: str) -> str:
        """``HOST:PORT`` of ``grpc`` or ``http``."""
        return f"{self.host}:{self.grpc_port if protocol == 'grpc' else self.http_port}"


def running_servers(folder: Path | None = None) -> tuple[ServerRecord, ...]:
    """Return servers whose process is alive, the newest first. Invalid records are skipped."""
    folder = folder or resources.state_dir("servers")
    if not folder.is_dir():
        return ()
    found = [one for path in folder.glob("*.json") if (one := _read(path)) is not None]
    found.sort(key=lambda one: one[0], reverse=True)
    return tuple(record for _, record in found if _alive(record))


def find_server(model: str, folder: Path | None = None) -> ServerRecord | None:
    """Return the newest running server of ``model``, or None."""
    servers = running_servers(folder)
    return next((record for record in servers if model in record.models), None)


def server_of(repo: Path, folder: Path | None = None) -> ServerRecord | None:
    """Return the newest running server of a repository, or None."""
    wanted = os.path.realpath(repo)
    servers = running_servers(folder)
    return next((record for record in servers if os.path.realpath(record.repo) == wanted), None)


def _read(path: Path) -> tuple[float, ServerRecord] | None:
    """Return a record with the time when it was written; None if it is damaged or removed."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        host = str(found.get("host") or "127.0.0.1")
        host = _LOOPBACK.get(host, host)
        return path.stat().st_mtime, ServerRecord(
            id=str(found["id"]),
            host=f"[{host}]" if ":" in host else host,
            http_port=int(found["http_port"]),
            grpc_port=int(found["grpc_port"]),
            metrics_port=int(found["metrics_port"]),
            models=tuple(str(name) for name in found["models"]),
            repo=str(found["repo"]),
            pid=int(found["pid"]),
            started=float(found.get("started") or 0),
        )
    except (OSError, *UNREADABLE):
        return None


def _alive(record: ServerRecord) -> bool:
    """Whether the server's process runs: another one may have its number now."""
    try:
        found = psutil.Process(record.pid)
        if found.status() == psutil.STATUS_ZOMBIE:
            return False
        # Setting the clock moves the start times of all processes.
        same = abs(found.create_time() - record.started) < _SAME_START
        return same or not record.started or found.environ().get(_MARK) == record.id
    except (psutil.Error, ValueError):
        return False
