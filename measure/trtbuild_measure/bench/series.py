"""Counts over time, in at most 240 slices that widen as a run goes on."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from trtbuild_measure.bench.model import Stream, Timeline

_MOST = 240
_FIRST_WIDTH = 0.25


@dataclass(slots=True)
class Slice:
    """Counts of one time slice."""

    output_tokens: float = 0.0
    finished: int = 0
    failed: int = 0
    ttft_total: float = 0.0

    def merge(self, other: Slice) -> None:
        """Add the counts of ``other``."""
        self.output_tokens += other.output_tokens
        self.finished += other.finished
        self.failed += other.failed
        self.ttft_total += other.ttft_total


@dataclass(slots=True)
class Series:
    """Slices of ``width`` seconds from ``start``."""

    start: float = field(default_factory=time.perf_counter)
    width: float = _FIRST_WIDTH
    slices: list[Slice] = field(default_factory=list)

    def add(self, stream: Stream, line: Timeline | None) -> None:
        """Add a finished request."""
        ended = self._at(stream.ended)
        if line is None:
            ended.failed += 1
            return
        ended.finished += 1
        if line.arrivals:
            ended.ttft_total += line.arrivals[0] - line.intended
        # Without a count for each chunk, tokens are divided evenly.
        tokens = line.tokens or [line.output_tokens / max(len(line.arrivals), 1)] * len(
            line.arrivals
        )
        for at, count in zip(line.arrivals, tokens, strict=True):
            self._at(at).output_tokens += count

    def _at(self, moment: float) -> Slice:
        index = max(0, int((moment - self.start) / self.width))
        while index >= _MOST:
            self._widen()
            index = max(0, int((moment - self.start) / self.width))
        while index >= len(self.slices):
            self.slices.append(Slice())
        return self.slices[index]

    def _widen(self) -> None:
        for left, right in zip(self.slices[::2], self.slices[1::2], strict=False):
            left.merge(right)
        self.slices = self.slices[::2]
        self.width *= 2

    def rows(self) -> list[dict[str, float | int | None]]:
        """Return each slice: start in seconds, tokens/s, finished and failed requests, TTFT."""
        return [
            {
                "s": round(index * self.width, 3),
                "output_tokens_per_s": one.output_tokens / self.width,
                "finished": one.finished,
                "failed": one.failed,
                "ttft_ms": one.ttft_total / one.finished * 1e3 if one.finished else None,
            }
            for index, one in enumerate(self.slices)
        ]
