"""Redis Streams, with a consumer group.

A message that a worker has received is pending until it is acknowledged. Redis never redelivers it
by itself: each worker looks for pending messages that nobody has kept for the lease, and claims
them. XREADGROUP CLAIM would do that in one command, but needs Redis 8.4.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from trtbuild.errors import ServerError, UsageError
from trtbuild_batch.worker.addresses import Queue
from trtbuild_batch.worker.model import LostError, Message, Outgoing

_BODY = "body"
_WAIT_MS = 1000
_LOOKS = 4  # for abandoned messages, in the time of a lease


class RedisSource:
    """A stream that workers of one group share."""

    def __init__(self, queue: Queue, lease: float) -> None:
        self._queue = queue
        self._lease = lease
        self._redis: Any = _client(queue)  # its types are those of both protocols and clients
        self._me = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._look = 0.0
        self._held: set[bytes] = set()

    async def open(self, *, create: bool) -> None:
        """See :class:`~trtbuild_batch.worker.model.Source`.

        A new group begins with the messages that are there already.
        """
        from redis.exceptions import ResponseError

        await _require_stream(self._redis, self._queue, create)
        with _opening(self._queue):
            try:
                await self._redis.xgroup_create(
                    self._queue.name, self._queue.group, id="0", mkstream=create
                )
            except ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise

    async def receive(self, most: int) -> Sequence[Message]:
        """See :class:`~trtbuild_batch.worker.model.Source`. Abandoned messages come first."""
        with _running():
            if time.monotonic() >= self._look:
                if found := await self._abandoned(most):
                    return found
                self._look = time.monotonic() + self._lease / _LOOKS
            rows = await self._redis.xreadgroup(
                self._queue.group, self._me, {self._queue.name: ">"}, count=most, block=_WAIT_MS
            )
        return self._received(rows[0][1] if rows else [], {})

    def _received(self, entries: Any, counts: Mapping[bytes, int]) -> list[Message]:
        self._held.update(id for id, _ in entries)
        return [_message(id, fields, counts.get(id, 0) + 1) for id, fields in entries]

    async def _abandoned(self, most: int) -> list[Message]:
        """Take messages that nobody has kept for the lease."""
        name, group, idle = self._queue.name, self._queue.group, int(self._lease * 1000)
        pending = await self._redis.xpending_range(name, group, "-", "+", most, idle=idle)
        counts = {
            row["message_id"]: int(row["times_delivered"])
            for row in pending
            if row["message_id"] not in self._held
        }
        if not counts:
            return []
        taken = await self._redis.xclaim(name, group, self._me, idle, list(counts))
        return self._received(taken, counts)

    async def keep(self, held: Collection[Message]) -> None:
        """See :class:`~trtbuild_batch.worker.model.Source`."""
        if held:
            ids = [one.handle for one in held]
            with _running():
                await self._redis.xclaim(
                    self._queue.name, self._queue.group, self._me, 0, ids, justid=True
                )

    async def done(self, message: Message) -> None:
        """See :class:`~trtbuild_batch.worker.model.Source`."""
        with _running():
            await self._redis.xack(self._queue.name, self._queue.group, message.handle)
        self._held.discard(message.handle)

    async def release(self, held: Collection[Message]) -> None:
        """See :class:`~trtbuild_batch.worker.model.Source`. The delivery is not counted."""
        with _running():
            for one in held:
                await self._redis.xclaim(
                    self._queue.name,
                    self._queue.group,
                    self._me,
                    0,
                    [one.handle],
                    idle=int(self._lease * 1000),
                    retrycount=one.deliveries - 1,
                    justid=True,
                )

    async def waiting(self) -> int | None:
        """See :class:`~trtbuild_batch.worker.model.Source`."""
        with _running():
            for row in await self._redis.xinfo_groups(self._queue.name):
                if row["name"] == self._queue.group.encode():
                    lag = row.get("lag")
                    if lag is None:  # before Redis 7, and after entries were deleted
                        after = f"({row['last-delivered-id'].decode()}"
                        if await self._redis.xrange(self._queue.name, after, "+", count=1):
                            return None
                    return (lag or 0) + int(row["pending"]) - len(self._held)
        return None

    async def close(self) -> None:
        """Disconnect; the group forgets us unless messages of ours are pending."""
        name, group = self._queue.name, self._queue.group
        try:
            with _running():
                pending = await self._redis.xpending_range(name, group, "-", "+", 1, self._me)
                if not pending:
                    await self._redis.xgroup_delconsumer(name, group, self._me)
        except LostError:
            pass
        await self._redis.aclose()


class RedisSink:
    """A stream that entries are added to."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._redis: Any = _client(queue)  # its types are those of both protocols and clients

    async def open(self, *, create: bool) -> None:
        """See :class:`~trtbuild_batch.worker.model.Sink`."""
        await _require_stream(self._redis, self._queue, create)  # XADD makes it

    async def publish(self, message: Outgoing) -> None:
        """See :class:`~trtbuild_batch.worker.model.Sink`."""
        with _running():
            await self._redis.xadd(self._queue.name, {**message.headers, _BODY: message.body})

    async def close(self) -> None:
        """See :class:`~trtbuild_batch.worker.model.Sink`."""
        await self._redis.aclose()


def _client(queue: Queue) -> Any:
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    host, _, port = queue.hosts.rpartition(":")
    return Redis(
        host=host.strip("[]"),
        port=int(port),
        db=int(queue.settings.get("db", "0")),
        username=queue.user or None,
        password=queue.password or None,
        protocol=2,
        ssl=queue.scheme == "rediss",
        socket_connect_timeout=5,
        socket_timeout=10,
        retry=Retry(NoBackoff(), 0),
    )


async def _require_stream(redis: Any, queue: Queue, create: bool) -> None:
    with _opening(queue):
        kind = (await redis.type(queue.name)).decode()
        if kind == "none" and create:
            return
    if kind == "none":
        raise UsageError(
            f"the stream {queue.name!r} does not exist",
            where=str(queue),
            fix="correct the name, add --create, or send its first message",
        )
    if kind != "stream":
        raise UsageError(
            f"{queue.name!r} is a {kind}, not a stream", where=str(queue), fix="name a stream"
        )


@contextmanager
def _opening(queue: Queue) -> Iterator[None]:
    from redis.exceptions import RedisError

    try:
        yield
    except (RedisError, OSError) as error:
        raise ServerError(
            f"Redis cannot be used: {error}", where=str(queue), fix="check the address and password"
        ) from None


@contextmanager
def _running() -> Iterator[None]:
    from redis.exceptions import RedisError

    try:
        yield
    except (RedisError, OSError) as error:
        raise LostError(f"Redis: {error}") from None


def _message(id: bytes, fields: Mapping[bytes, bytes], deliveries: int) -> Message:
    headers = {
        name.decode("utf-8", "replace").lower(): value.decode("utf-8", "replace")
        for name, value in fields.items()
        if name != _BODY.encode()
    }
    sent = int(id.partition(b"-")[0]) / 1000
    return Message(id.decode(), fields.get(_BODY.encode(), b""), headers, id, deliveries, sent)
