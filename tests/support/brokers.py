"""Real brokers, and what a test sends to their queues and reads from them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from support.valkey import valkey

Sent = tuple[bytes, Mapping[str, str]]
"""A body and headers."""


class Broker(Protocol):
    """A broker that runs."""

    def url(self, queue: str) -> str:
        """The address of a queue, for a worker."""

    def send(self, queue: str, messages: Sequence[Sent]) -> None:
        """Send messages to a queue, which is created."""

    def read(self, queue: str) -> list[Sent]:
        """Every message of a queue so far; none if it does not exist."""


@dataclass
class RedisBroker:
    port: int

    def __post_init__(self) -> None:
        import redis

        self._redis = redis.Redis(port=self.port)

    def url(self, queue: str) -> str:
        return f"redis://127.0.0.1:{self.port}/{queue}"

    def send(self, queue: str, messages: Sequence[Sent]) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            for body, headers in messages:
                pipe.xadd(queue, {"body": body, **headers})
            pipe.execute()

    def read(self, queue: str) -> list[Sent]:
        found: list[Sent] = []
        for _, fields in self._redis.xrange(queue):
            body = fields.pop(b"body")
            found.append((body, {name.decode(): text.decode() for name, text in fields.items()}))
        return found


@contextlib.contextmanager
def _redis() -> Iterator[Broker]:
    with valkey() as server:
        yield RedisBroker(server.port)


BROKERS = {"redis": _redis}


@contextlib.contextmanager
def broker(name: str) -> Iterator[Broker]:
    """Run a broker."""
    with BROKERS[name]() as found:
        yield found
