"""What a running server says of itself and of its models, over HTTP."""

from __future__ import annotations

import http.client

from trtbuild.server.handle import ServerHandle


def says_ready(handle: ServerHandle) -> bool:
    """Whether the server itself says that all its models are loaded."""
    return _status(handle, "/v2/health/ready") == http.HTTPStatus.OK


def lost_models(handle: ServerHandle) -> tuple[str, ...]:
    """The models that the server says are not ready; none while it does not answer at all."""
    statuses = {name: _status(handle, f"/v2/models/{name}/ready") for name in handle.models}
    return tuple(name for name, status in statuses.items() if status not in (0, http.HTTPStatus.OK))


def _status(handle: ServerHandle, path: str) -> int:
    """The status of an answer, 0 without one."""
    connection = http.client.HTTPConnection(handle.connect_host, handle.http_port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
