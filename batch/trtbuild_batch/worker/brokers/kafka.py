"""Kafka, with messages of a partition finished in any order.

Threads of their own poll and commit: the client blocks. Kafka counts no deliveries, and does not
redeliver a message while its worker lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from trtbuild.errors import ServerError, UsageError
from trtbuild_batch.worker.addresses import Queue
from trtbuild_batch.worker.brokers.offsets import SPAN, Offsets, decoded
from trtbuild_batch.worker.model import LostError, Message, Outgoing, TooLargeError

_WAIT = 1.0
_IDLE = 5.0  # seconds without a receive after which partitions are paused and the group is answered
_SECONDS = 10.0
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
        self._commits = _Shared(self._commit)
        self._unread = ""  # why we do not know where to begin
        # The consumer's connection waits for messages most of the time.
        self._admin: Any = AdminClient(_settings(queue), logger=_quiet())
        self._consumer: Any = Consumer(
            {
                "group.id": queue.group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": _session_ms(lease),
                **_settings(queue),
            },
            logger=_quiet(),
        )

    async def open(self, *, create: bool) -> None:
        """See :class:`~trtbuild_batch.worker.model.Source`. A new group begins with the oldest
        message."""
        await asyncio.to_thread(_require_topic, self._queue, create)
        self._subscribe()

    def _subscribe(self) -> None:
        self._consumer.subscribe(
            [self._queue.name], on_assign=self._assigned, on_revoke=self._revoked,
            on_lost=self._gone,
        )  # fmt: skip

    def _assigned(self, consumer: Any, partitions: list[Any]) -> None:
        from confluent_kafka import KafkaException

        try:
            known = consumer.committed(partitions, timeout=_SECONDS)
            consumer.incremental_assign(known)
        except KafkaException as error:
            self._unread = f"Kafka: the group's offsets: {error.args[0].str()}"
            return
        with self._lock:
            for one in known:
                finished = decoded(one.offset, one.metadata) if one.offset >= 0 else set()
                self._partitions[one.partition] = Offsets(one.offset, finished)

    def _revoked(self, consumer: Any, partitions: list[Any]) -> None:
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
            return await asyncio.to_thread(self._receive, most)

    def _receive(self, most: int) -> list[Message]:
        with _running(), self._lock:
            if trouble := self._unread:
                self._unread = ""
                self._consumer.unsubscribe()
                self._subscribe()
                raise LostError(trouble)
            self._pace(pause=False)
            found, self._early = self._early[:most], self._early[most:]
        with _running():
            if not found:
                found = self._polled(_WAIT)
            if found and len(found) < most:
                found += self._consumer.consume(most - len(found), 0)
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
            f"{self._queue.name}-{number}-{offset}", one.value() or b"", headers,
            (offsets, number, offset), 1, sent / 1000 if kind else 0.0, one.key(),
        )  # fmt: skip

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
        with _running():
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
            with _running():
                self._consumer.commit(offsets=found, asynchronous=False)

    async def release(self, held: Collection[Message]) -> None:
        """Nothing is to be done: what is not committed is delivered again."""

    async def waiting(self) -> int | None:
        """See :class:`~trtbuild_batch.worker.model.Source`."""
        return await asyncio.to_thread(self._waiting)

    def _waiting(self) -> int:
        from confluent_kafka import TopicPartition, admin

        spec: Any = admin.OffsetSpec  # type: ignore[attr-defined]
        name, left = self._queue.name, 0
        with _running():
            topic = self._admin.list_topics(name, timeout=_SECONDS).topics[name]
            asked = [TopicPartition(name, number) for number in topic.partitions]
            first, last = self._ends(asked, spec.earliest()), self._ends(asked, spec.latest())
            for one in self._consumer.committed(asked, timeout=_SECONDS):
                at = max(one.offset, first[one.partition])
                left += last[one.partition] - at - len(decoded(at, one.metadata))
        with self._lock:
            held = sum(one.held for one in self._partitions.values())
        return max(0, left - held)

    def _ends(self, partitions: list[Any], which: Any) -> dict[int, int]:
        found = self._admin.list_offsets(dict.fromkeys(partitions, which), request_timeout=_SECONDS)
        return {one.partition: int(made.result(_SECONDS).offset) for one, made in found.items()}

    async def close(self) -> None:
        """Leave the group, so that the others get our partitions at once."""
        async with self._polling:
            await asyncio.to_thread(self._consumer.close)


class KafkaSink:
    """A topic that messages are produced to, idempotently."""

    def __init__(self, queue: Queue) -> None:
        from confluent_kafka import Producer

        self._queue = queue
        self._producer: Any = Producer(
            {"enable.idempotence": True, "linger.ms": 5, **_settings(queue)}, logger=_quiet()
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    async def open(self, *, create: bool) -> None:
        """See :class:`~trtbuild_batch.worker.model.Sink`."""
        await asyncio.to_thread(_require_topic, self._queue, create)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._poll, name="kafka-sink", daemon=True)
        self._thread.start()

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(0.1)

    async def publish(self, message: Outgoing) -> None:
        """See :class:`~trtbuild_batch.worker.model.Sink`."""
        from confluent_kafka import KafkaError, KafkaException

        assert self._loop is not None
        loop = self._loop
        delivered: asyncio.Future[Any] = loop.create_future()

        def told(error: Any, _message: Any) -> None:
            loop.call_soon_threadsafe(_tell, delivered, error)

        try:
            self._producer.produce(
                self._queue.name, message.body, message.key, on_delivery=told,
                headers=[(name, text.encode("utf-8")) for name, text in message.headers.items()],
            )  # fmt: skip
            error = await delivered
        except BufferError:
            raise LostError("Kafka takes messages too slowly") from None
        except KafkaException as found:
            error = found.args[0]
        if error is not None:
            if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                raise TooLargeError(f"{self._queue} takes no {len(message.body):,} bytes")
            raise LostError(f"Kafka: {error.str()}")

    async def close(self) -> None:
        """See :class:`~trtbuild_batch.worker.model.Sink`."""
        self._closing.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)


def _tell(delivered: asyncio.Future[Any], error: Any) -> None:
    if not delivered.done():
        delivered.set_result(error)


class _Shared:
    """An action that several wait for: each gets one that began after it asked."""

    def __init__(self, act: Any) -> None:
        self._act = act
        self._lock = asyncio.Lock()
        self._asked = self._begun = 0

    async def __call__(self) -> None:
        self._asked += 1
        mine = self._asked
        async with self._lock:
            if self._begun < mine:
                begun = self._asked
                await asyncio.to_thread(self._act)
                self._begun = begun


def _session_ms(lease: float) -> int:
    """Return after how long a lost worker leaves the group, in the bounds that brokers and the
    client have by default (group.min.session.timeout.ms, max.poll.interval.ms)."""
    return min(max(int(lease * 1000), 6_000), 300_000)


def _settings(queue: Queue) -> dict[str, Any]:
    """Return what the address says, for either client."""
    found: dict[str, Any] = {"bootstrap.servers": queue.hosts, "client.id": "trtbuild-worker"}
    if queue.user:
        found |= {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN",
                  "sasl.username": queue.user, "sasl.password": queue.password}  # fmt: skip
    return found | dict(queue.settings)


def _require_topic(queue: Queue, create: bool) -> None:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

    try:
        admin = AdminClient(_settings(queue), logger=_quiet())
        if queue.name in admin.list_topics(timeout=_SECONDS).topics:
            return
        if create:
            (made,) = admin.create_topics([NewTopic(queue.name)]).values()
            made.result(_SECONDS)
            return
    except KafkaException as error:
        if error.args[0].name() == "TOPIC_ALREADY_EXISTS":
            return
        raise ServerError(
            f"Kafka cannot be used: {error.args[0].str()}", where=str(queue),
            fix="check the address, and the settings after the question mark",
        ) from None  # fmt: skip
    raise UsageError(
        f"the topic {queue.name!r} does not exist", where=str(queue),
        fix="correct the name, create the topic, or add --create",
    )  # fmt: skip


@contextmanager
def _running() -> Iterator[None]:
    from confluent_kafka import KafkaException

    try:
        yield
    except KafkaException as error:
        raise LostError(f"Kafka: {error.args[0].str()}") from None


def _quiet() -> Any:
    """Return a logger for the client, which otherwise writes to standard error by itself; what goes
    wrong, the calls tell."""
    import logging

    found = logging.getLogger("trtbuild.worker.kafka")
    found.setLevel(logging.CRITICAL)
    return found
