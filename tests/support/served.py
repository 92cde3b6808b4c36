"""A repository on the program's own embedded server, and what its conversions kept."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from support.waiting import wait_for
from trtbuild.client import LLMClient, wait_ready
from trtbuild.client.transport import Protocol
from trtbuild.process import free_ports
from trtbuild.server import (
    LaunchOptions,
    Ports,
    ServerHandle,
    launch,
    read_contents,
    require_alive,
    says_ready,
    stop,
)


@contextlib.contextmanager
def serving(repository: Path, models: Sequence[str], state: Path) -> Iterator[ServerHandle]:
    """Serve a repository until its models are ready, and stop the server at the end."""
    contents = read_contents(repository)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRTBUILD_STATE_DIR", str(state))
        found = launch(contents, "embedded", LaunchOptions(ports=Ports(*free_ports(3))))
        try:
            # Triton opens the port of HTTP after that of gRPC.
            wait_for(lambda: (require_alive(found), says_ready(found))[1], 300)
            wait_ready(found.grpc_url, models, 300, watch=lambda: require_alive(found))
            yield found
        finally:
            stop(found)


@contextlib.contextmanager
def client_of(server: ServerHandle, protocol: Protocol) -> Iterator[LLMClient]:
    """Return a client of ``grpc`` or ``http``."""
    port = server.grpc_port if protocol == "grpc" else server.http_port
    with LLMClient(f"127.0.0.1:{port}", protocol) as found:
        yield found


def kept(repository: Path, model: str) -> list[dict[str, Any]]:
    """Return what the reference answered at the conversion."""
    text = (repository / model / "1/reference.json").read_text()
    rows: list[dict[str, Any]] = json.loads(text)["kept"]
    return rows
