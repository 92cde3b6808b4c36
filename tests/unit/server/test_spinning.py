"""How long OpenMP's threads spin, as a number of turns."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import pytest

from trtbuild.server import spinning


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    spinning.pause_seconds.cache_clear()
    clear = spinning.pause_seconds.cache_clear
    yield
    clear()


def test_a_turn_is_timed_here() -> None:
    """40 to 140 cycles at 1 to 6 GHz, with room for a busy machine."""
    assert 1e-9 < spinning.pause_seconds() < 1e-6


@pytest.mark.parametrize(
    ("turn", "count"), [(24.4e-9, 61_000), (53e-9, 28_000), (1e-12, 500_000), (1e-3, 3000)]
)
def test_the_count_follows_the_time(
    monkeypatch: pytest.MonkeyPatch, turn: float, count: int
) -> None:
    monkeypatch.setattr(spinning, "pause_seconds", lambda: turn)
    assert spinning.spin_count(0.0015) == count


def test_what_cannot_be_measured_has_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("no executable memory")

    monkeypatch.setattr(mmap, "mmap", refuse)
    assert spinning.spin_count() == 30_000


def test_no_other_processor_is_given_these_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert spinning.pause_seconds() == 0
