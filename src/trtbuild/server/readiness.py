"""What a running server says of itself and of its models, over HTTP."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote

from trtbuild.server.handle import ServerHandle


def says_ready(handle: ServerHandle, model: str = "") -> bool:
    """Whether the server itself says that a model is loaded, or that all its models are."""
    return _status(handle, model) == HTTPStatus.OK


def lost_models(handle: ServerHandle) -> tuple[str, ...]:
    """The models that the server says are not ready; none while it does not answer at all."""
    statuses = {name: _status(handle, name) for name in handle.models}
    return tuple(name for name, status in statuses.items() if status not in (0, HTTPStatus.OK))


def _status(handle: ServerHandle, model: str) -> int:
    """The status of its answer to whether a model, or all are ready; 0 without an answer."""
    from trtbuild.wire.blocking import fetch
    from trtbuild.wire.failures import WireError

    path = f"models/{quote(model, safe='')}" if model else "health"
    try:
        return fetch(f"http://{handle.http_url}/v2/{path}/ready", seconds=2).status
    except WireError:
        return 0
