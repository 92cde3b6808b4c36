"""What a running server says of itself and of its models, over HTTP."""

from __future__ import annotations

import http.client

from trtbuild.server.handle import ServerHandle


def says_ready(found: ServerHandle) -> bool:
    """Whether the server itself says that all its models are loaded."""
    return _status(found, "/v2/health/ready") == http.HTTPStatus.OK


def lost_models(found: ServerHandle) -> tuple[str, ...]:
    """The models that the server says are not ready; none while it does not answer at all."""
    statuses = {name: _status(found, f"/v2/models/{name}/ready") for name in found.models}
    return tuple(name for name, status in statuses.items() if status not in (0, http.HTTPStatus.OK))


def _status(found: ServerHandle, path: str) -> int:
    """The status of an answer, 0 without one."""
    connection = http.client.HTTPConnection(found.connect_host, found.http_port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
