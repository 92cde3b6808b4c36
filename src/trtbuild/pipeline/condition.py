"""Whether a running server's models still answer, and why not."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from trtbuild import server
from trtbuild.client import NotServedError
from trtbuild.client.reference import DiffersError
from trtbuild.errors import ServerError
from trtbuild.explain import explain
from trtbuild.server import ServerHandle, logs

Condition = Literal["starting", "ready", "dead"]

# The prefix of lines from vLLM's own processes.
_ENGINE = ("(EngineCore", "(Worker")


def condition(handle: ServerHandle) -> Condition:
    """Return the server's health as its models show it. A server that was ready and reports that
    it no longer is has lost an engine."""
    if handle.health == "ready" and server.lost_models(handle):
        return "dead"
    return handle.health


def explained_death(error: ServerError, name: str, url: str) -> ServerError:
    """Return ``error`` of a request with the engine's last log lines if the engine is dead."""
    if not isinstance(error, NotServedError):
        return error
    found = _server_at(url)
    if found is None or not found.ready or name not in found.models:
        return error
    return dead_engines(found, name)


def dead_engines(handle: ServerHandle, name: str = "") -> ServerError:
    """Return the error of a server whose engines ended, with the reason in its log and the fix."""
    word = last_words(handle)
    return explained(
        ServerError(
            f"the engine of {name or ', '.join(handle.models)} is dead",
            where=handle.log_path,
            fix="fix the cause in the log, then start the server again: "
            f"trtbuild stop {handle.id}; trtbuild serve {handle.repo}",
            details=(word,) if word else (),
        ),
        handle,
    )


def _server_at(url: str) -> ServerHandle | None:
    return next((one for one in server.servers() if url in (one.grpc_url, one.http_url)), None)


def last_words(handle: ServerHandle) -> str:
    """Return why a server or its engine ended, from its log; ``""`` if unknown."""
    if handle.health == "dead":
        return next(iter(logs.failure_reasons(Path(handle.log_path))), "")
    return logs.root_exception(line for line in _lines(handle) if line.startswith(_ENGINE))


def _lines(handle: ServerHandle) -> list[str]:
    try:
        return Path(handle.log_path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def explained(error: ServerError, handle: ServerHandle) -> ServerError:
    """Return the error of a server with the root cause in its log: what, where, and the fix. A
    server that answers wrong numbers is well, and its log has only warnings."""
    if isinstance(error, DiffersError):
        return error
    found = explain(_lines(handle), Path(handle.repo))
    # A killed engine leaves no exception, only its parent's word that it has ended.
    reasons = found.reasons or [one for one in found.follows if one.cause == "engine-core"]
    if not reasons or reasons[0].cause == "unknown":
        return error
    root = reasons[0]
    rule = f" ({root.rule})" if root.rule else ""
    at = (f"at {root.place}{rule}",) if root.place else ()
    known = tuple(f"known as {address}" for address in root.known_as[:1])
    return ServerError(
        f"{error.what}: {root.title}",
        where=error.where,
        fix=root.fix or error.fix,
        details=(*error.details, *at, *known),
    )
