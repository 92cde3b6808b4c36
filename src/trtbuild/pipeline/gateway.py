"""The gateway beside a server: a program of its own that ends with the server."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from trtbuild import process
from trtbuild.errors import ServerError, UsageError
from trtbuild.plugins import points
from trtbuild.server import ServerHandle, logs
from trtbuild.wire.blocking import fetch
from trtbuild.wire.failures import WireError

_START_SECONDS = 60.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class GatewayHandle:
    """A gateway that answers; ``url`` is what OpenAI's client takes as its base URL."""

    url: str
    pid: int


def gateway_port(host: str, port: int) -> int:
    """Return the port of a gateway that can be started; 0 takes a free one.

    Raises:
        UsageError: The gateway is not installed, or its port is taken.
    """
    if not any(point.name == "gateway" for point in points("trtbuild.commands.v1")):
        raise UsageError(
            "the gateway is not installed: it is a package of its own",
            fix="install it (pip install trtbuild-gateway), or leave out --gateway",
        )
    if port == 0:
        return process.free_ports(1, host)[0]
    if not process.port_is_free(port, host):
        owner = process.port_owner(port) or "another program"
        raise UsageError(
            f"the gateway's port {port} is taken by {owner}",
            where=host,
            fix="choose another one (--gateway-port N; 0 takes a free one)",
        )
    return port


def start_gateway(handle: ServerHandle, repository: Path, port: int) -> GatewayHandle:
    """Start the gateway in front of a server, on the server's address.

    It carries the server's mark, so whatever stops the server stops it, too.

    Raises:
        ServerError: It ended or did not answer; the error has the end of its log.
    """
    argv = [sys.executable, "-m", "trtbuild", "gateway", str(repository), "--url", handle.http_url]
    argv += ["--host", handle.host, "--port", str(port)]
    log = Path(handle.log_path).with_name("gateway.log")
    place = f"[{handle.connect_host}]" if ":" in handle.connect_host else handle.connect_host
    pid = process.spawn(argv, mark=handle.id, env={}, log_path=log)
    started, until = process.start_time(pid), time.monotonic() + _START_SECONDS
    while not _answers(f"http://{place}:{port}/health/ready"):
        if not process.is_alive(pid, started, handle.id) or time.monotonic() > until:
            raise ServerError(
                "the gateway did not start",
                where=str(log),
                details=logs.last_lines(log),
                fix=f"fix the cause above; `{' '.join(argv[2:])}` starts it alone",
            )
        time.sleep(_POLL_SECONDS)
    return GatewayHandle(f"http://{place}:{port}/v1", pid)


def _answers(url: str) -> bool:
    try:
        return fetch(url, seconds=2).status == 200
    except WireError:
        return False
