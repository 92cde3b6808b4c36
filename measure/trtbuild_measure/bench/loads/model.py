"""A load and its limits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from trtbuild_measure.bench.metrics.throughput import Throughput
from trtbuild_measure.bench.model import BenchTarget, Prompt, Sink, Stream

Arrivals = Literal["poisson", "constant"]
Prompts = Callable[[int], Prompt]
"""The prompt of a number: the same for each target, so that all are asked the same."""

WARMUP_NUMBERS = 1 << 40
"""Prompts of warm-ups are numbered from here: none of them is asked again when it counts."""

MISTAKE = "internal error in trtbuild: "
_GIVE_UP = 5  # failures to connect in a row, for each client


@dataclass(frozen=True, slots=True)
class Load:
    """One point of a curve.

    ``closed``: ``concurrency`` clients, each sending again as soon as it is answered. ``open``:
    ``rate`` requests a second, whatever the server does. ``trace``: at the times of a file.
    ``texts`` are those of one request, to a model that generates none.
    """

    kind: Literal["closed", "open", "trace"]
    concurrency: int = 0
    rate: float = 0.0
    arrivals: Arrivals = "poisson"
    texts: int = 1

    @property
    def label(self) -> str:
        """Return a readable name."""
        return f"{self._label} × {self.texts} texts" if self.texts > 1 else self._label

    @property
    def _label(self) -> str:
        if self.kind == "closed":
            return f"{self.concurrency} client{'s' if self.concurrency > 1 else ''}"
        return f"{self.rate:g} req/s {self.arrivals}" if self.kind == "open" else "trace"

    def as_dict(self) -> dict[str, object]:
        """Return the load as the result records it."""
        found: dict[str, object] = {"kind": self.kind, "label": self.label}
        if self.kind == "closed":
            found["concurrency"] = self.concurrency
        elif self.kind == "open":
            found |= {"rate": self.rate, "arrivals": self.arrivals}
        if self.texts > 1:
            found["texts"] = self.texts
        return found


@dataclass(frozen=True, slots=True)
class Limits:
    """When a block ends: after ``requests`` measured ones or ``seconds``, whichever is first.

    ``warmup`` requests come first; None: one for each client, or a second's worth.
    """

    requests: int | None = None
    seconds: float | None = None
    warmup: int | None = None

    def for_load(self, load: Load, rounds: int) -> Limits:
        """Set the number of requests if neither that nor a duration was given.

        At least 50, eight for each client in each round, ten seconds' worth.
        """
        if self.requests is not None or self.seconds is not None or load.kind == "trace":
            return self
        wanted = load.concurrency * 8 * rounds if load.kind == "closed" else load.rate * 10
        return replace(self, requests=max(50, math.ceil(wanted)))

    def warmups(self, load: Load) -> int:
        """Requests that are sent and not measured."""
        if load.kind == "trace":
            return 0
        if self.warmup is not None:
            return self.warmup
        return load.concurrency if load.kind == "closed" else math.ceil(load.rate)


class Control:
    """Stops a run on a signal (``signal``, 0 if none) or when the server is gone."""

    def __init__(self) -> None:
        self.signal = 0
        self.lost = ""
        self.on_interrupt: Callable[[], object] = bool
        self._in_a_row = 0

    def interrupt(self, signal: int) -> None:
        """Stop at once because of a signal; requests in flight are abandoned."""
        self.signal = signal
        self.on_interrupt()

    @property
    def stopped(self) -> bool:
        """Whether no further request is to be sent."""
        return bool(self.signal or self.lost)

    def broke(self, error: BaseException) -> None:
        """Note an unexpected error that ended a block; earlier measurements are kept."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        self.lost = f"{MISTAKE}{type(error).__name__}: {error}"

    def saw(self, error: str, clients: int) -> None:
        """Record that a request ended with ``error`` (empty: success)."""
        self._in_a_row = self._in_a_row + 1 if error in ("refused", "dropped") else 0
        if self._in_a_row >= _GIVE_UP * max(1, clients):
            self.lost = f"the server is gone: {self._in_a_row} requests in a row were {error}"


class Gate:
    """Hands out request numbers and opens and closes the throughput window.

    Args:
        limits: When to end.
        warmups: How many negative numbers are handed out first.
        throughput: Its window is opened and closed here.
        short: The run is too short for a window; see :mod:`..metrics.throughput`.
    """

    def __init__(
        self, limits: Limits, warmups: int, throughput: Throughput, *, short: bool
    ) -> None:
        self._limits = limits
        self._next = -warmups
        self._throughput = throughput
        self._short = short
        self._open = False
        self._opened = 0.0
        self._closed = False

    def take(self, now: float) -> int | None:
        """Return the next number, negative for a warm-up; None at the end."""
        number, limits = self._next, self._limits
        if number < 0:
            self._next += 1
            return number
        if not self._open:
            self._open, self._opened = True, now
            self._throughput.open(now, now + (limits.seconds or math.inf))
        if limits.seconds is not None and now - self._opened >= limits.seconds:
            self._close(now)
            return None
        if limits.requests is not None and number >= limits.requests:
            return None
        self._next += 1
        if self._next == limits.requests and not self._short:
            self._close(now)
        return number

    def finish(self, now: float) -> None:
        """Note that every request has ended."""
        if self._open:
            self._close(now)

    def _close(self, now: float) -> None:
        if not self._closed:
            self._closed = True
            self._throughput.close(now)

    def progress(self) -> tuple[int, int]:
        """Requests handed out, and their total (0 if limited by time)."""
        return max(0, self._next), self._limits.requests or 0


def now() -> float:
    """Return the time by the clock that all of this uses."""
    return time.perf_counter()


@dataclass(frozen=True, slots=True)
class Session:
    """What every request of one block needs; ``first`` is the number of its first prompt."""

    target: BenchTarget
    prompts: Prompts
    gate: Gate
    sink: Sink
    control: Control
    first: int = 0

    def prompt(self, number: int) -> Prompt:
        """Return the prompt for a gate number. Creating it counts towards no latency."""
        shifted = WARMUP_NUMBERS + self.first - number if number < 0 else self.first + number
        return self.prompts(shifted)

    async def ask(self, stream: Stream, *, measured: bool, clients: int) -> Stream:
        """Send one request and put the result into the sink."""
        await self.target.ask(stream)
        self.sink(stream, measured)
        self.control.saw(stream.error, clients)
        return stream
