"""Which messages of a Kafka partition are finished: by chance, against the plain definition."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from trtbuild_batch.worker.brokers.offsets import SPAN, Offsets, decoded, encoded


@given(st.integers(0, 10**12), st.sets(st.integers(0, 300), max_size=80), st.randoms())
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
    later = Offsets(offsets.commit, decoded(offsets.commit, offsets.text()))
    again = [one for one in sent if one >= offsets.commit and later.received(one)]
    assert again == [one for one in sent if one not in finished]
    for offset in again:
        later.finish(offset)
    assert (later.commit, later.text(), later.held) == (sent[-1] + 1, "", 0)


def test_the_worst_bitmap_fits_into_what_brokers_keep() -> None:
    chance = random.Random(1)
    worst = {7 + at for at in range(SPAN) if chance.random() < 0.5}
    text = encoded(7, worst)
    assert len(text) <= 4096
    assert decoded(7, text) == worst


def test_text_of_another_program_is_left_alone() -> None:
    for text in (None, "", "checkpoint", "trtbuild1:?", "trtbuild1:aGVsbG8="):
        assert decoded(5, text) == set()
