"""Messages produced to Kafka; a thread of its own polls, because the client blocks."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from trtbuild_batch.worker.addresses import Queue
from trtbuild_batch.worker.brokers.kafka_client import client_of, require_topic
from trtbuild_batch.worker.model import LostError, Outgoing, TooLargeError


class KafkaSink:
    """A topic that messages are produced to, idempotently."""

    def __init__(self, queue: Queue) -> None:
        from confluent_kafka import Producer

        self._queue = queue
        self._producer = client_of(Producer, queue, {"enable.idempotence": True, "linger.ms": 5})
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    async def open(self, *, create: bool) -> None:
        """See :class:`~trtbuild_batch.worker.model.Sink`."""
        await asyncio.to_thread(require_topic, self._queue, create)
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
                self._queue.name,
                message.body,
                message.key,
                on_delivery=told,
                headers=[(name, text.encode("utf-8")) for name, text in message.headers.items()],
            )
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
