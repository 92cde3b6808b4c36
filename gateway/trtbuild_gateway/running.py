"""Serve the application: listen, drain at SIGTERM, and leave no stream cut."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from functools import partial

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from trtbuild.errors import UsageError
from trtbuild_gateway.app import create_app
from trtbuild_gateway.gateway import Gateway
from trtbuild_gateway.http.protocol import patient
from trtbuild_gateway.reloading import reload
from trtbuild_gateway.settings import Settings
from trtbuild_gateway.telemetry import logs

_REFUSING_SECONDS = 5.0  # a load balancer needs that long to notice
_POLL_SECONDS = 0.05
_CUTTING_SECONDS = 1  # uvicorn's, once the streams have had their time


def listen(host: str, port: int, option: str = "--port") -> socket.socket:
    """Return a socket that listens; ``option`` is how the user chooses the port.

    Raises:
        UsageError: The address cannot be taken.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # asyncio sets it only on sockets of its own: without, every answer waits 40 ms for an ACK.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.bind((host, port))
        made.listen(2048)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host}:{port}: {error.strerror}",
            fix=f"choose another port with {option}; 0 takes a free one",
        ) from None
    return made


class Server(uvicorn.Server):
    """uvicorn's server, whose shutdown begins with refusing new requests."""

    gateway: Gateway
    read: Callable[[], Settings] | None = None
    _reloading: asyncio.Task[bool] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and read the settings again at SIGHUP."""
        await super().startup(sockets)
        if self.read is not None:
            hung_up = partial(self._hung_up, self.read, terminal=_has_terminal())
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up)

    def _hung_up(self, read: Callable[[], Settings], *, terminal: bool) -> None:
        if terminal and not _has_terminal():  # it was closed, which ends its programs
            self.handle_exit(signal.SIGTERM, None)
        else:
            self._reloading = asyncio.create_task(reload(self.gateway, read))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer new requests with 503 for a while, and end when the open ones have."""
        self.gateway.draining = True
        began = time.monotonic()
        await self.gateway.catalog.release()
        while not self.force_exit and (waited := time.monotonic() - began) < self._most_seconds:
            if waited >= _REFUSING_SECONDS and not self.server_state.tasks:
                break
            await asyncio.sleep(_POLL_SECONDS)
        await super().shutdown(sockets)

    @property
    def _most_seconds(self) -> float:
        return max(self.gateway.settings.drain_seconds, _REFUSING_SECONDS)


def _has_terminal() -> bool:
    """Whether the process can be ended by closing its terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def server_for(gateway: Gateway, control: socket.socket | None = None) -> Server:
    """Return a server that has not started.

    Args:
        gateway: What it serves.
        control: The socket on which models are controlled; it must be among those of the server.
    """
    settings = gateway.settings
    config = uvicorn.Config(
        create_app(gateway) if control is None else _with_control(gateway, control),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here asks for the client's address
        lifespan="on",
        http=patient(settings.header_seconds),
        ws="none",
        timeout_graceful_shutdown=_CUTTING_SECONDS,
    )
    server = Server(config)
    server.gateway = gateway
    return server


def _with_control(gateway: Gateway, listening: socket.socket) -> ASGIApp:
    """Return the application of both ports."""
    from trtbuild_gateway.control.app import ControlPlane
    from trtbuild_gateway.control.gate import gate_of

    gate = gate_of(gateway.settings, lambda: gateway.gate)
    gateway.control = gate.prepare
    plane = ControlPlane(gateway, gate)
    data, control = create_app(gateway, plane.running), plane.app()
    port = listening.getsockname()[1]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        here = scope["type"] == "http" and scope["server"][1] == port
        await (control if here else data)(scope, receive, send)

    return app


def serve(
    gateway: Gateway,
    listening: socket.socket,
    control: socket.socket | None = None,
    read: Callable[[], Settings] | None = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        gateway: What to serve.
        listening: The socket.
        control: The socket on which models are controlled.
        read: Reads the settings again at SIGHUP.
    """
    logs.configure(gateway.settings)
    server = server_for(gateway, control)
    server.read = read
    sockets = [listening] if control is None else [listening, control]
    try:
        with (
            contextlib.suppress(KeyboardInterrupt),
            asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner,
        ):
            runner.run(server.serve(sockets))
    finally:
        gateway.traces.close()
