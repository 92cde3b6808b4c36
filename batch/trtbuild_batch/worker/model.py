"""What every broker gives and takes: messages, the queue they come from, the queues they go to."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(slots=True, eq=False)
class Message:
    """A message that was received and is not finished.

    Attributes:
        id: The broker's name of it, the same at each delivery.
        body: As it was sent.
        headers: Names in lower case.
        handle: What its source needs to acknowledge it.
        deliveries: How often it was delivered, this time included; 1 if the broker does not count.
        sent: When the queue got it, in seconds since 1970; 0 if unknown.
        key: The key of a Kafka message, which its answer has, too.
        failures: The failed calls since it was received.
    """

    id: str
    body: bytes
    headers: Mapping[str, str]
    handle: Any = None
    deliveries: int = 1
    sent: float = 0.0
    key: bytes | None = None
    failures: list[Mapping[str, Any]] = field(default_factory=list)
    received: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish; ``id`` lets readers, and brokers that can, drop repeats."""

    id: str
    body: bytes
    headers: Mapping[str, str]
    key: bytes | None = None


class Source(Protocol):
    """A queue whose messages are taken, finished in any order, and redelivered if they are not.

    After ``open`` a broker that is away raises :class:`LostError`; any call may be made again.
    """

    async def open(self, *, create: bool) -> None:
        """Connect. UsageError if the queue does not exist and is not to be created; ServerError if
        the broker does not answer."""

    async def receive(self, most: int) -> Sequence[Message]:
        """Return up to ``most`` messages; wait up to a second for the first."""

    async def keep(self, held: Collection[Message]) -> None:
        """Tell the broker that we still work on these. Called often, also without any."""

    async def done(self, message: Message) -> None:
        """Acknowledge a message. Returns when the broker will not deliver it again."""

    async def release(self, held: Collection[Message]) -> None:
        """Give messages back, for another worker, at once where the broker can; nothing is received
        after this."""

    async def waiting(self) -> int | None:
        """How many messages nobody has finished, without those that we hold; None if unknown."""

    async def close(self) -> None:
        """Disconnect."""


class Sink(Protocol):
    """A queue that messages are published to."""

    async def open(self, *, create: bool) -> None:
        """See :meth:`Source.open`."""

    async def publish(self, message: Outgoing) -> None:
        """Publish; returns when the broker has the message. TooLargeError, LostError."""

    async def close(self) -> None:
        """Disconnect."""


class LostError(Exception):
    """The broker does not answer now, or refuses: the same call may succeed later."""


class TooLargeError(Exception):
    """The broker does not take a message of this size."""
