"""Which messages of a Kafka partition are finished: by chance, against the plain definition."""

from __future__ import annotations

import random
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.lanes import rounds
from trtbuild_batch.worker.addresses import parse
from trtbuild_batch.worker.brokers.kafka import KafkaSource
from trtbuild_batch.worker.brokers.offsets import SPAN, Offsets, decoded, encoded
from trtbuild_batch.worker.model import LostError


@given(st.integers(0, 10**12), st.sets(st.integers(0, 300), max_size=80), st.randoms())
@settings(max_examples=rounds(40, 1000))
def test_only_what_is_not_finished_comes_again(
    first: int, gaps: set[int], chance: random.Random
) -> None:
    sent = [first + at for at in range(300) if at not in gaps]
    received = sent[: chance.randrange(1, len(sent))]
    offsets = Offsets(-1001)
    assert all(map(offsets.received, received))
    finished = set(chance.sample(received, chance.randrange(len(received))))
    for offset in chance.sample(sorted(finished), len(finished)):
        offsets.finish(offset)
        offsets.finish(offset)
    assert offsets.held == len(received) - len(finished)
    open_ones = [offset for offset in received if offset not in finished]
    assert offsets.commit == min(open_ones)
    kept, given = set(open_ones[::2]), open_ones[1::2]
    offsets.give_back(given)
    later = Offsets(offsets.commit, *decoded(offsets.commit, offsets.text()))
    again = [one for one in sent if one >= offsets.commit and later.received(one)]
    assert again == [one for one in sent if one not in finished]
    counts = {one: later.deliveries(one) for one in again}
    assert counts == {one: 1 + (one in kept) for one in again}
    assert decoded(later.commit, later.text())[1] == counts
    for offset in again:
        later.finish(offset)
    assert (later.commit, later.text(), later.held) == (sent[-1] + 1, "", 0)


def test_a_delivery_is_given_back_once() -> None:
    """A worker that ends gives its messages back, and then its partitions with them."""
    offsets = Offsets(5, set(), {5: 2})
    assert offsets.received(5) and offsets.deliveries(5) == 3
    offsets.give_back([5])
    offsets.give_back()
    assert decoded(5, offsets.text())[1] == {5: 2}


def test_the_worst_bitmap_fits_into_what_brokers_keep() -> None:
    chance = random.Random(1)
    worst = {7 + at for at in range(SPAN) if chance.random() < 0.5}
    text = encoded(7, worst)
    assert len(text) <= 4096
    assert decoded(7, text) == (worst, {})


def test_deliveries_that_do_not_fit_are_left_out() -> None:
    chance = random.Random(1)
    held = sorted(chance.sample(range(SPAN), SPAN // 2))
    offsets = Offsets(0, delivered=dict.fromkeys(held, 1))
    finished = set(range(1, SPAN)).difference(held)
    for one in range(SPAN):
        offsets.received(one)
        if one in finished:
            offsets.finish(one)
    offsets.give_back(one for one in held if chance.random() < 0.9)
    kept, delivered = decoded(0, offsets.text())
    assert kept == finished
    assert set(delivered.values()) <= {2} or not delivered
    assert len(offsets.text()) <= 4096


def test_text_of_an_older_worker_has_no_deliveries() -> None:
    old = encoded(5, {6, 9}).replace("trtbuild2", "trtbuild1").rstrip(".")
    assert decoded(5, old) == ({6, 9}, {})


def test_text_of_another_program_is_left_alone() -> None:
    for text in (None, "", "checkpoint", "trtbuild1:?", "trtbuild2:aGVsbG8=.aGVsbG8="):
        assert decoded(5, text) == (set(), {})


def test_a_message_before_an_error_is_not_taken_for_a_gap() -> None:
    kafka = pytest.importorskip("confluent_kafka")
    source: Any = KafkaSource(parse("kafka://127.0.0.1:9/q", "--from"), 60)
    source._consumer.close()
    source._partitions[0] = Offsets(5)
    message = Mock(**{"error.return_value": None, "headers.return_value": None,
                      "partition.return_value": 0, "offset.return_value": 5,
                      "value.return_value": b"{}", "timestamp.return_value": (0, 0)})  # fmt: skip
    source._consumer = Mock(**{"poll.side_effect": [message, None]})
    source._consumer.consume.side_effect = [kafka.KafkaException(kafka.KafkaError(-1)), []]
    with pytest.raises(LostError):
        source._receive(4)
    (found,) = source._receive(4)
    assert found.handle[1:] == (0, 5)
