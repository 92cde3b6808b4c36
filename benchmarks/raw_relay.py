"""A relay of bytes, of plain asyncio protocols: ``raw_relay.py UPSTREAM_URL PORT``."""

from __future__ import annotations

import asyncio
import sys
from urllib.parse import urlsplit

import uvloop


class Up(asyncio.Protocol):
    """The connection to the upstream: what arrives goes to the client."""

    def __init__(self, client: asyncio.Transport) -> None:
        self.client = client

    def data_received(self, data: bytes) -> None:
        self.client.write(data)

    def connection_lost(self, _error: Exception | None) -> None:
        self.client.close()


class Down(asyncio.Protocol):
    """A client's connection: what arrives goes to a connection of its own to the upstream."""

    transport: asyncio.Transport
    server: asyncio.Transport | None = None
    passing: asyncio.Task[None]

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.passing = asyncio.ensure_future(self.pass_on(data))

    async def pass_on(self, data: bytes) -> None:
        """Pass on a packet; the first one opens the connection."""
        if self.server is None:
            loop, place = asyncio.get_running_loop(), urlsplit(sys.argv[1])
            made = await loop.create_connection(
                lambda: Up(self.transport), place.hostname, place.port
            )
            self.server = made[0]
        self.server.write(data)

    def connection_lost(self, _error: Exception | None) -> None:
        if self.server is not None:
            self.server.abort()


async def main() -> None:
    """Relay until the process is killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Down, "127.0.0.1", int(sys.argv[2]), backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
