"""Ports that refuse connections and are nobody else's while they do."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def refusing() -> Iterator[int]:
    """A port that is bound and not listened on: a connection to it is refused.

    One that was freed belongs to whoever asks next, such as the server of another test, which then
    gets requests that are not for it.
    """
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@contextlib.contextmanager
def kept(count: int) -> Iterator[list[int]]:
    """Ports on which programs of this test may listen again and again, and nobody else is given.

    Linux lets a socket with SO_REUSEADDR listen beside another one that is only bound.
    """
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("127.0.0.1", 0))
        yield [one.getsockname()[1] for one in sockets]
