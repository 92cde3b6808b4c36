"""What NVML says of GPUs, through a scripted ``pynvml``: two cards, none, and one that is lost."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from trtbuild_measure.bench.limits import limited_by
from trtbuild_measure.bench.watching import nvml, server
from trtbuild_measure.bench.watching.server import ServerWatch, Watched

GIB = 2**30


class NVMLError(Exception):
    """As the real module's: it is neither an OSError nor a ValueError."""


class Fake:
    """``pynvml`` with ``cards``: bytes used and percent busy of each, changed while it runs."""

    def __init__(self, *cards: tuple[int, int]) -> None:
        self.cards = list(cards)
        self.driver = True
        self.lost: int | None = None
        self.partitioned = False

    def nvmlInit(self) -> None:
        if not self.driver:
            raise NVMLError("Driver Not Loaded")

    def nvmlDeviceGetCount(self) -> int:
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index == self.lost:
            raise NVMLError("GPU is lost")
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(used=self.cards[handle][0], total=80 * GIB)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        if self.partitioned:
            raise NVMLError("Not Supported")
        return SimpleNamespace(gpu=self.cards[handle][1], memory=1)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """Two cards, one idle and one busy."""
    made = Fake((10 * GIB, 5), (70 * GIB, 97))
    monkeypatch.setitem(sys.modules, "pynvml", made)
    nvml._library.cache_clear()
    yield made
    nvml._library.cache_clear()


def test_memory_is_of_all_cards_and_utilisation_of_the_busiest(fake: Fake) -> None:
    assert nvml.sample() == {"gpu_memory_bytes": 80.0 * GIB, "gpu_utilization": 0.97}


def test_a_card_that_is_lost_in_mid_run_ends_nothing(fake: Fake) -> None:
    """Without it the sum would be of other cards than before: that sample is left out."""
    assert nvml.sample()
    fake.lost = 1
    assert nvml.sample() == {}
    fake.lost = None
    assert nvml.sample()["gpu_memory_bytes"] == 80.0 * GIB


def test_a_partitioned_card_has_memory_alone(fake: Fake) -> None:
    fake.partitioned = True
    assert nvml.sample() == {"gpu_memory_bytes": 80.0 * GIB}


def test_a_driver_without_cards(fake: Fake) -> None:
    fake.cards.clear()
    assert nvml.sample() == {}


def test_no_driver_is_asked_once(fake: Fake) -> None:
    fake.driver = False
    assert nvml.sample() == {}
    fake.driver = True
    assert nvml.sample() == {}, "a benchmark does not look for a driver every second"


def test_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    nvml._library.cache_clear()
    assert nvml.sample() == {}
    nvml._library.cache_clear()


@pytest.mark.parametrize(("percent", "limit"), [(97, "gpu"), (60, "unknown")])
def test_a_busy_gpu_is_what_limited_a_load(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, percent: int, limit: str
) -> None:
    """From the card through the watch into the verdict."""
    monkeypatch.setattr(server, "_PERIOD", 0.01)
    fake.cards[1] = (70 * GIB, percent)
    with ServerWatch(Watched()) as watch:
        until = time.monotonic() + 30
        while "gpu_utilization" not in watch.tracks and time.monotonic() < until:
            time.sleep(0.01)
    watched = watch.as_dict()
    assert watched["gpu_utilization"] == {
        "mean": pytest.approx(percent / 100),
        "max": pytest.approx(percent / 100),
    }
    assert watched["gpu_memory_bytes"] == {"mean": 80.0 * GIB, "max": 80.0 * GIB}
    told = limited_by(
        {
            "client": {
                "saturated": False,
                "cpu_share": 0.1,
                "waited_for_connection": 0,
                "opening_ms": None,
            },
            "metrics": {
                "e2e_ms": {"p50": 1000.0, "mean": 1000.0},
                "ttft_ms": {"p50": 50.0},
                "client_queue_ms": {"p95": 0.1},
            },
            "server": {"cores": 4, **watched},
        }
    )
    assert told["what"] == limit
    assert limit == "unknown" or "97%" in told["why"]
