"""The client of a model's worker, which the gateway uses like that of a server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from trtbuild.wire.failures import DeadlineError
from trtbuild.wire.pool import Pool
from trtbuild.wire.records import IndexEntry
from trtbuild.wire.triton_http import TritonHttp

_NOWHERE = "unix:/nonexistent/trtbuild"


class Control(Protocol):
    """Whoever starts and stops workers."""

    def index(self, name: str) -> list[IndexEntry]:
        """Return a model's row of the repository index."""

    async def load(self, name: str) -> None:
        """Load a model, or replace its worker."""

    async def unload(self, name: str) -> None:
        """Stop a model's worker."""


class WorkerWire(TritonHttp):
    """Asks a worker for answers, and whoever starts workers for everything about them.

    The worker may be replaced: each has a socket of its own.
    """

    def __init__(self, name: str, control: Control) -> None:
        super().__init__(_NOWHERE)
        self._name = name
        self._starter = control

    def connect(self, socket: Path) -> None:
        """Send the requests that come to another worker; open ones stay with theirs."""
        old, self._pool = self._pool, Pool(f"unix:{socket}")
        old.close()

    async def index(self, *, ready: bool = False, seconds: float | None = None) -> list[IndexEntry]:  # noqa: ARG002
        """Return the model's only row."""
        rows = self._starter.index(self._name)
        return [row for row in rows if row.state == "READY" or not ready]

    async def load(
        self,
        model: str,
        parameters: Mapping[str, str] | None = None,  # noqa: ARG002
        *,
        seconds: float | None = None,
    ) -> None:
        """Start a worker; DeadlineError if it takes too long."""
        try:
            async with asyncio.timeout(seconds):
                await self._starter.load(model)
        except TimeoutError:
            raise DeadlineError(f"no model within {seconds:g} s") from None

    async def unload(
        self,
        model: str,
        *,
        dependents: bool = False,  # noqa: ARG002
        seconds: float | None = None,  # noqa: ARG002
    ) -> None:
        """Stop the worker."""
        await self._starter.unload(model)
