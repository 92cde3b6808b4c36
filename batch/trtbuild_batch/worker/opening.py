"""The source or the sink that an address names. A broker's client is imported when it is used."""

from __future__ import annotations

import importlib
from typing import Any

from trtbuild.errors import UsageError
from trtbuild_batch.worker.addresses import Queue
from trtbuild_batch.worker.model import Sink, Source

_BROKERS = {
    "redis": ("redis", "redis", "Redis"),
    "rediss": ("redis", "redis", "Redis"),
    "nats": ("nats", "nats", "Nats"),
    "tls": ("nats", "nats", "Nats"),
    "amqp": ("aio_pika", "rabbitmq", "RabbitMQ"),
    "amqps": ("aio_pika", "rabbitmq", "RabbitMQ"),
    "kafka": ("confluent_kafka", "kafka", "Kafka"),
}
"""By scheme: the module of the client, the extra that installs it, the prefix of our classes."""


def open_source(queue: Queue, lease: float) -> Source:
    """Return the source for a queue; it is not connected yet.

    Raises:
        UsageError: The broker's client is not installed.
    """
    source: Source = _class(queue, "Source")(queue, lease)
    return source


def open_sink(queue: Queue) -> Sink:
    """Return the sink for a queue; it is not connected yet.

    Raises:
        UsageError: The broker's client is not installed.
    """
    sink: Sink = _class(queue, "Sink")(queue)
    return sink


def _class(queue: Queue, kind: str) -> Any:
    client, extra, prefix = _BROKERS[queue.scheme]
    try:
        importlib.import_module(client)
    except ImportError:
        raise UsageError(
            f"the client for {queue.scheme}:// is not installed",
            where=str(queue),
            fix=f"pip install 'trtbuild[{extra}]'",
        ) from None
    module = importlib.import_module(f"trtbuild_batch.worker.brokers.{extra}")
    return getattr(module, f"{prefix}{kind}")
