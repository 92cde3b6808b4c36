"""Headers of one broker that another one does not take: they must not hold a message for ever."""

from __future__ import annotations

import pytest

from trtbuild_batch.worker.brokers import nats, rabbitmq
from trtbuild_batch.worker.model import Outgoing

HEADERS = {"x-kept": "é", "user name": "a", "a:b": "c", "": "d", "nats-rollup": "all"}


def test_nats_gets_no_name_that_its_client_refuses() -> None:
    assert nats._headers(Outgoing("1", b"", HEADERS, None)) == {"x-kept": "\\xe9"}


def test_rabbitmq_gets_no_property_that_is_too_long() -> None:
    pytest.importorskip("aio_pika")
    long = "é" * 128
    made = rabbitmq._made(Outgoing(long, b"", {"correlation_id": long}, None))
    assert long.encode() in made.properties.marshal()
    assert (made.message_id, made.correlation_id) == (None, None)
    short = rabbitmq._made(Outgoing("1", b"", {"correlation_id": "c"}, None))
    assert (short.message_id, short.correlation_id) == ("1", "c")
