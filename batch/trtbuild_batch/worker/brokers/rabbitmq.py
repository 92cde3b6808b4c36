"""RabbitMQ, with quorum queues, which count deliveries.

Messages are fetched one by one instead of being pushed: a push has a fixed prefetch, and what lies
in this worker's buffer cannot be another worker's. The calls of a model take far longer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from trtbuild.errors import ServerError, UsageError
from trtbuild_batch.worker.addresses import Queue
from trtbuild_batch.worker.model import LostError, Message, Outgoing, TooLargeError

_WAIT = 1.0
_PAUSE = 0.05  # between looks into an empty queue; doubled up to _LONGEST
_LONGEST = 0.4
_DELIVERIES = "x-delivery-count"
_HEADERS = 100_000
"""Bytes of a message's headers at most: they go in one frame, of 128 KiB by default, and the server
ends a connection with a larger one."""
_MOST_BYTES = 255  # of a property
_NAMES = ("message_id", "correlation_id", "content_type")


class RabbitMQSource:
    """A queue of a RabbitMQ server."""

    def __init__(self, queue: Queue, lease: float) -> None:
        del lease  # a lost worker's messages come back when its connection ends
        self._queue = queue
        self._broker = _Broker(queue)

    async def open(self, *, create: bool) -> None:
        """See :class:`~trtbuild_batch.worker.model.Source`."""
        await self._broker.open(create=create)

    async def receive(self, most: int) -> Sequence[Message]:
        """See :class:`~trtbuild_batch.worker.model.Source`."""
        until, pause = time.monotonic() + _WAIT, _PAUSE
        found: list[Message] = []
        with _running():
            queue = await self._broker.queue()
            while len(found) < most:
                one = await queue.get(fail=False)
                if one is not None:
                    found.append(_message(one))
                elif found or time.monotonic() >= until:
                    break
                else:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LONGEST)
        return found

    async def keep(self, held: Collection[Message]) -> None:
        """Nothing is to be done: the connection's heartbeats keep the messages."""

    async def done(self, message: Message) -> None:
        """See :class:`~trtbuild_batch.worker.model.Source`."""
        if _is_ours(message):
            with _running():
                await message.handle.ack()

    async def release(self, held: Collection[Message]) -> None:
        """See :class:`~trtbuild_batch.worker.model.Source`. RabbitMQ counts the delivery."""
        with _running():
            for one in held:
                if _is_ours(one):
                    await one.handle.nack(requeue=True)

    async def waiting(self) -> int | None:
        """See :class:`~trtbuild_batch.worker.model.Source`. Those of other workers are left out."""
        with _running():
            found = await self._broker.declared(create=False)
            size: int | None = found.declaration_result.message_count
            return size

    async def close(self) -> None:
        """See :class:`~trtbuild_batch.worker.model.Source`."""
        await self._broker.close()


class RabbitMQSink:
    """A queue that messages are published to, with confirms."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._broker = _Broker(queue)

    async def open(self, *, create: bool) -> None:
        """See :class:`~trtbuild_batch.worker.model.Sink`."""
        await self._broker.open(create=create)

    async def publish(self, message: Outgoing) -> None:
        """See :class:`~trtbuild_batch.worker.model.Sink`."""
        size = sum(len(name) + len(text.encode()) for name, text in message.headers.items())
        if size > _HEADERS:
            raise TooLargeError(f"RabbitMQ takes no headers of {size:,} bytes")
        made = _made(message)
        with _running(len(message.body)):
            await self._broker.queue()  # connected, and the queue is there
            await self._broker.channel.default_exchange.publish(made, self._queue.name)

    async def close(self) -> None:
        """See :class:`~trtbuild_batch.worker.model.Sink`."""
        await self._broker.close()


def _made(message: Outgoing) -> Any:
    import aio_pika

    return aio_pika.Message(
        message.body,
        headers=dict(message.headers),
        message_id=_short(message.id),
        correlation_id=_short(message.headers.get("correlation_id", "")),
        content_type="application/json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )


def _short(text: str) -> str | None:
    """Return what a property can hold; a longer text of another broker stays in its header."""
    return text if 0 < len(text.encode()) <= _MOST_BYTES else None


class _Broker:
    """A connection with one channel, opened again by whoever finds it closed."""

    def __init__(self, queue: Queue) -> None:
        self._address = queue
        self._connection: Any = None
        self._opening = asyncio.Lock()
        self._found: Any = None
        self.channel: Any = None

    async def open(self, *, create: bool) -> None:
        """Connect. UsageError without the queue, ServerError without the server."""
        from aio_pika.exceptions import ChannelNotFoundEntity

        try:
            await self._connect()
            try:
                self._found = await self.declared(create=False)
            except ChannelNotFoundEntity:
                if not create:
                    raise
                self.channel = await self._connection.channel(publisher_confirms=True)
                self._found = await self.declared(create=True)
        except ChannelNotFoundEntity:
            raise UsageError(
                f"the queue {self._address.name!r} does not exist",
                where=str(self._address),
                fix="correct the name, create a quorum queue, or add --create",
            ) from None
        except _errors() as error:
            raise ServerError(
                f"RabbitMQ cannot be used: {error}",
                where=str(self._address),
                fix="check the address, the password and ?vhost=",
            ) from None

    async def _connect(self) -> None:
        import aio_pika

        for name in ("aiormq", "aio_pika"):  # they log each lost connection with its traceback
            logging.getLogger(name).setLevel(logging.CRITICAL)
        if self._connection is not None:
            await self._connection.close()
        at = self._address
        who = f"{quote(at.user, safe='')}:{quote(at.password, safe='')}@" if at.user else ""
        vhost = quote(at.settings.get("vhost", "/"), safe="")
        # connect, and not connect_robust: that one restores a channel whose messages are stale
        self._connection = await aio_pika.connect(
            f"{at.scheme}://{who}{at.hosts}/{vhost}", timeout=5
        )
        self.channel = await self._connection.channel(publisher_confirms=True)

    async def declared(self, *, create: bool) -> Any:
        """Return the queue."""
        return await self.channel.declare_queue(
            self._address.name,
            durable=True,
            passive=not create,
            arguments={"x-queue-type": "quorum"} if create else None,
        )

    async def queue(self) -> Any:
        """Return the queue on a channel that is open."""
        async with self._opening:
            if self.channel.is_closed or self._connection.is_closed:
                await self._connect()
                self._found = await self.declared(create=False)
            return self._found

    async def close(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            await self._connection.close()


def _message(one: Any) -> Message:
    headers = {name.lower(): str(value) for name, value in (one.headers or {}).items()}
    given = headers.pop(_DELIVERIES, None)
    # In a queue that does not count it is the sender's.
    counted = int(given) + 1 if given and given.isdecimal() and len(given) < 10 else None
    deliveries = counted or 1 + bool(one.redelivered)
    for name in _NAMES:
        if value := getattr(one, name):
            headers.setdefault(name, str(value))
    id = one.message_id or one.correlation_id or headers.get("x-request-id")
    sent = one.timestamp.timestamp() if one.timestamp else 0.0
    # Without an id, a repeat looks like another message with the same body. Answering a repeat
    # twice does less harm than an answer that a reader drops as a repeat.
    return Message(str(id or uuid4()), one.body, headers, one, deliveries, sent)


def _is_ours(message: Message) -> bool:
    """Whether its channel is open; otherwise it is in the queue again."""
    from aiormq.exceptions import ChannelInvalidStateError

    try:
        return not message.handle.channel.is_closed
    except ChannelInvalidStateError:
        return False


def _errors() -> tuple[type[BaseException], ...]:
    from aio_pika.exceptions import AMQPError

    return (AMQPError, OSError, TimeoutError, RuntimeError)  # of a channel that is closing


@contextmanager
def _running(size: int = 0) -> Iterator[None]:
    try:
        yield
    except _errors() as error:
        if "PRECONDITION_FAILED - message size" in str(error):
            raise TooLargeError(f"RabbitMQ takes no {size:,} bytes") from None
        raise LostError(f"RabbitMQ: {error or type(error).__name__}") from None
