"""The readiness of a running server and of its models, over HTTP."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote

from trtbuild.server.handle import ServerHandle


def says_ready(handle: ServerHandle, model: str = "") -> bool:
    """Whether the server reports that a model, or all its models, are ready."""
    return _status(handle, model) == HTTPStatus.OK


def lost_models(handle: ServerHandle) -> tuple[str, ...]:
    """Return the models that the server reports as not ready; none if it does not answer."""
    statuses = {name: _status(handle, name) for name in handle.models}
    return tuple(name for name, status in statuses.items() if status not in (0, HTTPStatus.OK))


def _status(handle: ServerHandle, model: str) -> int:
    """Return the HTTP status of the readiness endpoint; 0 without an answer."""
    from trtbuild.wire.blocking import fetch
    from trtbuild.wire.failures import WireError

    path = f"models/{quote(model, safe='')}" if model else "health"
    try:
        return fetch(f"http://{handle.http_url}/v2/{path}/ready", seconds=2).status
    except WireError:
        return 0
