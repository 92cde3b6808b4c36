"""The server during a measurement: CPU, memory, GPU, and its own metrics."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import psutil

from trtbuild_measure.bench.watching import nvml
from trtbuild_measure.bench.watching.prometheus import (
    Sample,
    differences,
    gauges,
    per_request,
    read_metrics,
)

_PERIOD = 1.0


@dataclass(frozen=True, slots=True)
class Watched:
    """What to watch; ``pid`` 0 and an empty ``metrics_url`` are skipped."""

    pid: int = 0
    metrics_url: str = ""
    model: str = ""


@dataclass(slots=True)
class Track:
    """Mean and maximum of a sampled value."""

    total: float = 0.0
    count: int = 0
    highest: float = 0.0

    def add(self, value: float) -> None:
        """Add a sample."""
        self.total += value
        self.count += 1
        self.highest = max(self.highest, value)

    def as_dict(self) -> dict[str, float]:
        """Return what the result records."""
        return {"mean": self.total / self.count, "max": self.highest}


@dataclass(slots=True)
class ServerWatch:
    """Samples in a separate thread, once a second and at both ends of each block."""

    watched: Watched
    tracks: dict[str, Track] = field(default_factory=dict)
    grown: dict[str, float] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _first: Sample | None = None

    def __enter__(self) -> Self:
        self._stop.clear()
        self._first = self._scrape()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join(timeout=5)
        last = self._scrape()
        if self._first is not None and last is not None:
            for name, value in differences(self._first, last).items():
                self.grown[name] = self.grown.get(name, 0.0) + value

    def _run(self) -> None:
        members = _members(self.watched.pid)
        psutil.cpu_percent()
        for member in members:
            with contextlib.suppress(psutil.Error):
                member.cpu_percent()  # the first call sets the reference point
        while not self._stop.wait(_PERIOD):
            self._track("machine_cores", psutil.cpu_percent() / 100 * (psutil.cpu_count() or 1))
            self._sample_processes(members)
            for name, value in nvml.sample().items():
                self._track(name, value)
            for name, value in gauges(self._scrape() or {}).items():
                self._track(name, value)

    def _sample_processes(self, members: list[psutil.Process]) -> None:
        cpu, memory = 0.0, 0
        for member in members:
            with contextlib.suppress(psutil.Error):
                cpu += member.cpu_percent() / 100
                memory += member.memory_info().rss
        if memory:
            self._track("cpu_cores", cpu)
            self._track("rss_bytes", memory)

    def _track(self, name: str, value: float) -> None:
        self.tracks.setdefault(name, Track()).add(value)

    def _scrape(self) -> Sample | None:
        if not self.watched.metrics_url:
            return None
        return read_metrics(self.watched.metrics_url, self.watched.model)

    def as_dict(self) -> Mapping[str, object]:
        """Return what the result records; empty if nothing could be observed."""
        found: dict[str, object] = {name: track.as_dict() for name, track in self.tracks.items()}
        return found | per_request(self.grown)


def _members(pid: int) -> list[psutil.Process]:
    if not pid:
        return []
    try:
        leader = psutil.Process(pid)
        return [leader, *leader.children(recursive=True)]
    except psutil.Error:
        return []
