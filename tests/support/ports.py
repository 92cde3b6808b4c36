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
