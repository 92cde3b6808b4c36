"""Headers of one broker that another one does not take: they must not hold a message forever."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from trtbuild_batch.worker.brokers import nats, rabbitmq
from trtbuild_batch.worker.model import Outgoing


@dataclass
class Delivered:
    """A message as RabbitMQ's client gives it."""

    body: bytes
    message_id: str | None = None
    correlation_id: str | None = None
    content_type: str | None = None
    headers: dict[str, Any] = field(default_factory=dict)
    redelivered: bool = False
    timestamp: datetime | None = None


HEADERS = {"x-kept": "é", "user name": "a", "a:b": "c", "": "d", "nats-rollup": "all"}


def test_nats_gets_no_name_that_its_client_refuses() -> None:
    assert nats._headers(Outgoing("1", b"", HEADERS, None)) == {"x-kept": "\\xe9"}


def test_rabbitmq_messages_have_an_id_each_and_no_property_that_is_too_long() -> None:
    pytest.importorskip("aio_pika")
    long = "é" * 128
    made = rabbitmq._made(Outgoing(long, b"", {"correlation_id": long}, None))
    assert long.encode() in made.properties.marshal()
    assert (made.message_id, made.correlation_id) == (None, None)
    unnamed = [rabbitmq._message(Delivered(b"{}")) for _ in range(2)]
    assert unnamed[0].id != unnamed[1].id
    named = [rabbitmq._message(Delivered(b"{}", message_id="m")) for _ in range(2)]
    assert named[0].id == named[1].id == "m"
    short = rabbitmq._made(Outgoing("1", b"", {"correlation_id": "c"}, None))
    assert (short.message_id, short.correlation_id) == ("1", "c")
