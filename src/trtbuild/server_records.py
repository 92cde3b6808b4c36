"""The servers of this machine, from the records in the state directory."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from trtbuild import resources


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """A running server: its address and its repository."""

    id: str
    host: str
    http_port: int
    grpc_port: int
    metrics_port: int
    models: tuple[str, ...]
    repo: str
    pid: int

    def url(self, protocol: str) -> str:
        """``HOST:PORT`` of ``grpc`` or ``http``."""
        return f"{self.host}:{self.grpc_port if protocol == 'grpc' else self.http_port}"


def running_servers(folder: Path | None = None) -> tuple[ServerRecord, ...]:
    """Return servers whose process is alive, the newest first. Invalid records are skipped."""
    folder = folder or resources.state_dir("servers")
    if not folder.is_dir():
        return ()
    files = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    records = (_read(path) for path in files)
    return tuple(record for record in records if record is not None and _alive(record.pid))


def find_server(model: str, folder: Path | None = None) -> ServerRecord | None:
    """Return the newest running server of ``model``, or None."""
    servers = running_servers(folder)
    return next((record for record in servers if model in record.models), None)


def server_of(repo: Path, folder: Path | None = None) -> ServerRecord | None:
    """Return the newest running server of a repository, or None."""
    wanted = repo.resolve()
    servers = running_servers(folder)
    return next((record for record in servers if Path(record.repo).resolve() == wanted), None)


def _read(path: Path) -> ServerRecord | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return ServerRecord(
            id=str(found["id"]),
            host=str(found.get("host") or "127.0.0.1"),
            http_port=int(found["http_port"]),
            grpc_port=int(found["grpc_port"]),
            metrics_port=int(found["metrics_port"]),
            models=tuple(str(name) for name in found["models"]),
            repo=str(found["repo"]),
            pid=int(found["pid"]),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
