"""Kafka, with messages of a partition finished in any order.

Threads of their own poll and commit: the client blocks. Kafka does not redeliver a message while
its worker lives, and counts no deliveries: they are committed before a message is given out.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Collection, Sequence
from typing import Any

from trtbuild_batch.worker.addresses import Queue
from trtbuild_batch.worker.brokers.kafka_client import (
    SECONDS,
    Shared,
    client_of,
    require_topic,
    running,
    session_ms,
)
from trtbuild_batch.worker.brokers.kafka_sink import KafkaSink
from trtbuild_batch.worker.brokers.offsets import SPAN, Offsets, decoded
from trtbuild_batch.worker.model import LostError, Message

__all__ = ["KafkaSink", "KafkaSource"]

_WAIT = 1.0
_LOOK, _QUIET = 0.05, 3  # seconds, and how many of them without an assignment
_IDLE = 5.0  # seconds without a receive after which partitions are paused and the group is answered
_FULL = SPAN - 1024  # what the client has fetched already comes on top


class KafkaSource:
    """A topic that the workers of one group share.

    ``self._lock`` guards the partitions: the client calls us back in the thread that polls.
    """

    def __init__(self, queue: Queue, lease: float) -> None:
        from confluent_kafka import Consumer
        from confluent_kafka.admin import AdminClient

        self._queue = queue
        self._lock = threading.RLock()
        self._partitions: dict[int, Offsets] = {}
        self._full: set[int] = set()
        self._early: list[Any] = []  # received while nobody asked
        self._received = time.monotonic()
        self._polling = asyncio.Lock()
        self._commits = Shared(self._commit)
        self._unread = ""  # why we do not know where to begin
        # The consumer's connection waits for messages most of the time.
        self._admin = client_of(AdminClient, queue, {})
        self._consumer = client_of(
            Consumer,
            queue,
            {
                "group.id": queue.group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": session_ms(lease),
            },
        )

    async def open(self, *, create: bool) -> None:
        """See :class:`~trtbuild_batch.worker.model.Source`. A new group begins with the oldest
        message."""
        await asyncio.to_thread(require_topic, self._queue, create)
        self._subscribe()

    def _subscribe(self) -> None:
        self._consumer.subscribe(
            [self._queue.name],
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._gone,
        )

    def _assigned(self, consumer: Any, partitions: list[Any]) -> None:
        from confluent_kafka import KafkaException

        try:
            known = consumer.committed(partitions, timeout=SECONDS)
            consumer.incremental_assign(known)
        except KafkaException as error:
            self._unread = f"Kafka: the group's offsets: {error.args[0].str()}"
            return
        with self._lock:
            for one in known:
                state = decoded(one.offset, one.metadata) if one.offset >= 0 else ()
                self._partitions[one.partition] = Offsets(one.offset, *state)

    def _revoked(self, consumer: Any, partitions: list[Any]) -> None:
        with self._lock:  # that they go to another worker is no fault of the messages
            for one in partitions:
                if (offsets := self._partitions.get(one.partition)) is not None:
                    offsets.give_back()
        with contextlib.suppress(LostError):
            self._commit()  # before another worker begins
        self._gone(consumer, partitions)

    def _gone(self, consumer: Any, partitions: list[Any]) -> None:
        """Forget partitions: their messages are now another worker's."""
        numbers = {one.partition for one in partitions}
        with self._lock:
            for number in numbers:
                self._partitions.pop(number, None)
            self._full -= numbers
            self._early = [one for one in self._early if one.partition() not in numbers]
        consumer.incremental_unassign(partitions)

    async def receive(self, most: int) -> Sequence[Message]:
        """See :class:`~trtbuild_batch.worker.model.Source`."""
        self._received = time.monotonic()
        async with self._polling:
            found = await asyncio.to_thread(self._receive, most)
        if found:
            # Before a message can end this worker. Without a broker a delivery is not counted.
            with contextlib.suppress(LostError):
                await self._commits()
        return found

    def _receive(self, most: int) -> list[Message]:
        with running(), self._lock:
            if trouble := self._unread:
                self._unread = ""
                self._consumer.unsubscribe()
                self._subscribe()
                raise LostError(trouble)
            self._pace(pause=False)
            found, self._early = self._early[:most], self._early[most:]
        with running():
            found = found or self._polled(_WAIT)
            if found and len(found) < most:
                try:
                    found += self._consumer.consume(most - len(found), 0)
                except BaseException:
                    with self._lock:
                        self._early += found  # or they would be a gap, and be committed
                    raise
        with self._lock:
            return [made for one in found if (made := self._message(one)) is not None]

    def _polled(self, seconds: float) -> list[Any]:
        one = self._consumer.poll(seconds)
        return [] if one is None else [one]

    def _message(self, one: Any) -> Message | None:
        """Return a message; None for an event of the client, or what is finished already."""
        if one.error() is not None:
            if one.error().fatal():
                raise LostError(f"Kafka: {one.error().str()}")
            return None
        number, offset = one.partition(), one.offset()
        offsets = self._partitions.get(number)
        if offsets is None or not offsets.received(offset):
            return None
        headers = {
            name.lower(): (value or b"").decode("utf-8", "replace")
            for name, value in one.headers() or ()
        }
        kind, sent = one.timestamp()
        return Message(
            f"{self._queue.name}-{number}-{offset}",
            one.value() or b"",
            headers,
            (offsets, number, offset),
            offsets.deliveries(offset),
            sent / 1000 if kind else 0.0,
            one.key(),
        )

    def _pace(self, *, pause: bool) -> None:
        """Pause all partitions, or those alone whose oldest message holds up too many others."""
        from confluent_kafka import KafkaException, TopicPartition

        full = {n for n, one in self._partitions.items() if pause or one.span >= _FULL}
        for act, numbers in (
            (self._consumer.pause, full - self._full),
            (self._consumer.resume, self._full & self._partitions.keys() - full),
        ):
            # Refused for partitions that are no longer ours, as the next poll tells us.
            with contextlib.suppress(KafkaException):
                act([TopicPartition(self._queue.name, number) for number in sorted(numbers)])
        self._full = full

    async def keep(self, held: Collection[Message]) -> None:  # noqa: ARG002 - the group is kept
        """Answer the group's coordinator while nobody receives."""
        if time.monotonic() - self._received < _IDLE or self._polling.locked():
            return
        async with self._polling:
            await asyncio.to_thread(self._idle)

    def _idle(self) -> None:
        with running():
            with self._lock:
                self._pace(pause=True)
            early = self._polled(0)
        with self._lock:
            self._early += early

    async def done(self, message: Message) -> None:
        """See :class:`~trtbuild_batch.worker.model.Source`. Commits are shared: each has all that
        was finished before it."""
        offsets, number, offset = message.handle
        with self._lock:
            offsets.finish(offset)
            if self._partitions.get(number) is not offsets:
                return  # another worker has the partition
        await self._commits()

    def _commit(self) -> None:
        from confluent_kafka import TopicPartition

        with self._lock:
            found = [
                TopicPartition(self._queue.name, number, one.commit, one.text())
                for number, one in self._partitions.items()
                if one.commit >= 0
            ]
        if found:
            with running():
                self._consumer.commit(offsets=found, asynchronous=False)

    async def release(self, held: Collection[Message]) -> None:
        """See :class:`~trtbuild_batch.worker.model.Source`. The delivery is not counted."""
        with self._lock:
            for one in held:
                offsets, _, offset = one.handle
                offsets.give_back([offset])
        await self._commits()

    async def waiting(self) -> int | None:
        """See :class:`~trtbuild_batch.worker.model.Source`."""
        return await asyncio.to_thread(self._waiting)

    def _waiting(self) -> int:
        from confluent_kafka import TopicPartition, admin

        spec: Any = admin.OffsetSpec  # type: ignore[attr-defined]
        name, left = self._queue.name, 0
        with running():
            topic = self._admin.list_topics(name, timeout=SECONDS).topics[name]
            asked = [TopicPartition(name, number) for number in topic.partitions]
            first, last = self._ends(asked, spec.earliest()), self._ends(asked, spec.latest())
            for one in self._consumer.committed(asked, timeout=SECONDS):
                at = max(one.offset, first[one.partition])
                left += last[one.partition] - at - len(decoded(at, one.metadata)[0])
        with self._lock:
            held = sum(one.held for one in self._partitions.values())
        return max(0, left - held)

    def _ends(self, partitions: list[Any], which: Any) -> dict[int, int]:
        found = self._admin.list_offsets(dict.fromkeys(partitions, which), request_timeout=SECONDS)
        return {one.partition: int(made.result(SECONDS).offset) for one, made in found.items()}

    async def close(self) -> None:
        """Leave the group, so that the others get our partitions at once."""
        async with self._polling:
            await asyncio.to_thread(self._leave)

    def _leave(self) -> None:
        """Give the partitions back, then close: librdkafka, told by us of what it assigned or
        revoked just as it closes, can wait for itself forever, with Python's lock held."""
        from confluent_kafka import KafkaException

        with contextlib.suppress(KafkaException):
            self._consumer.unsubscribe()
            until, quiet = time.monotonic() + SECONDS, 0
            while quiet < _QUIET and time.monotonic() < until:
                came = self._consumer.poll(_LOOK) or self._consumer.assignment()
                quiet = 0 if came else quiet + 1
        self._consumer.close()
