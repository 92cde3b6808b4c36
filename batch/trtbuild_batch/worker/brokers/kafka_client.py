"""What the source and the sink of Kafka share: settings, topics, errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from trtbuild.errors import ServerError, UsageError
from trtbuild_batch.worker.addresses import Queue
from trtbuild_batch.worker.model import LostError

SECONDS = 10.0
_OURS = frozenset({"group.id", "enable.auto.commit", "bootstrap.servers", "auto.offset.reset"})


class Shared:
    """An action that several wait for: each gets one that began after it asked."""

    def __init__(self, act: Callable[[], None]) -> None:
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


def session_ms(lease: float) -> int:
    """Return after how long a lost worker leaves the group, in the bounds that brokers and the
    client have by default (group.min.session.timeout.ms, max.poll.interval.ms)."""
    return min(max(int(lease * 1000), 6_000), 300_000)


def client_of(client: Any, queue: Queue, settings: Mapping[str, Any]) -> Any:
    """Return a client with what the address says, and our settings before that.

    Raises:
        UsageError: The address has a setting that librdkafka refuses, or one that we rely on.
    """
    from confluent_kafka import KafkaException

    if ours := _OURS.intersection(queue.settings):
        raise UsageError(
            f"{min(ours)} is set by the worker", where=str(queue), fix="leave it out of the URL"
        )
    try:
        return client({**settings, **_settings(queue)}, logger=_quiet())
    except KafkaException as error:
        raise UsageError(
            f"librdkafka refuses a setting: {error.args[0].str()}",
            where=str(queue),
            fix="correct what follows the question mark of the URL",
        ) from None


def _settings(queue: Queue) -> dict[str, Any]:
    found: dict[str, Any] = {"bootstrap.servers": queue.hosts, "client.id": "trtbuild-worker"}
    if queue.user:
        found |= {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": queue.user,
            "sasl.password": queue.password,
        }
    return found | dict(queue.settings)


def require_topic(queue: Queue, create: bool) -> None:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

    try:
        admin = client_of(AdminClient, queue, {})
        if queue.name in admin.list_topics(timeout=SECONDS).topics:
            return
        if create:
            (creation,) = admin.create_topics([NewTopic(queue.name)]).values()
            creation.result(SECONDS)
            return
    except KafkaException as error:
        if error.args[0].name() == "TOPIC_ALREADY_EXISTS":
            return
        raise ServerError(
            f"Kafka cannot be used: {error.args[0].str()}",
            where=str(queue),
            fix="check the address, and the settings after the question mark",
        ) from None
    raise UsageError(
        f"the topic {queue.name!r} does not exist",
        where=str(queue),
        fix="correct the name, create the topic, or add --create",
    )


@contextmanager
def running() -> Iterator[None]:
    from confluent_kafka import KafkaException

    try:
        yield
    except KafkaException as error:
        raise LostError(f"Kafka: {error.args[0].str()}") from None
    except TimeoutError:  # of a future
        raise LostError("Kafka: no answer") from None


def _quiet() -> Any:
    """Return a logger for the client, which otherwise writes to standard error by itself; what goes
    wrong, the calls tell."""
    import logging

    found = logging.getLogger("trtbuild.worker.kafka")
    found.setLevel(logging.CRITICAL)
    return found
