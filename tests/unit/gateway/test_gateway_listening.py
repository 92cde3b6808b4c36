"""The socket that the gateway listens on."""

from __future__ import annotations

import socket

from trtbuild_gateway.running import listen


def test_small_writes_leave_at_once() -> None:
    with listen("127.0.0.1", 0) as server, socket.create_connection(server.getsockname()[:2]):
        accepted, _ = server.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
