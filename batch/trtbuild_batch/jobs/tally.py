"""How far a job is: rows, tokens, speed, the time left, the cost."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from trtbuild_batch.engine import Receipt

_WINDOW = 60.0  # seconds that the speed is averaged over


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A moment of a job. Times in seconds; None is unknown.

    Attributes:
        rows: Of the job, or of our share of it.
        done: Rows with a receipt, also from earlier runs.
        errors: Of those, rows with an error.
        in_flight: Rows that are being asked about.
        limit: Calls at a time that are allowed; 0 while the job yields to other requests.
        retries: Calls of this run that were made again.
        prompt_tokens: Of this run.
        completion_tokens: Of this run.
        seconds: Since this run began.
        rows_per_s: Over the last minute.
        seconds_left: At that speed.
        cost: Of the GPUs in this run, in the currency of their price.
        cost_left: At that speed.
    """

    rows: int
    done: int
    errors: int = 0
    in_flight: int = 0
    limit: int | None = None
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    rows_per_s: float | None = None
    seconds_left: float | None = None
    cost: float | None = None
    cost_left: float | None = None


@dataclass(slots=True)
class Tally:
    """Counts receipts.

    Args:
        rows: How many there will be, with ``done``.
        price_per_s: Of all GPUs together; None: no cost is shown.
    """

    rows: int
    started: float
    price_per_s: float | None = None
    done: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    _made: int = 0
    _samples: deque[tuple[float, int]] = field(default_factory=deque)

    def found(self, count: int, errors: int = 0) -> None:
        """Count rows of earlier runs."""
        self.done += count
        self.errors += errors

    def add(self, receipt: Receipt) -> None:
        """Count a row of this run."""
        self.done += 1
        self._made += 1
        self.errors += bool(receipt.kind)
        if receipt.outcome is not None:
            self.prompt_tokens += receipt.outcome.prompt_tokens or 0
            self.completion_tokens += receipt.outcome.completion_tokens or 0

    def snapshot(
        self, now: float, *, in_flight: int = 0, limit: int | None = None, retries: int = 0
    ) -> Snapshot:
        """Return the state at ``now``, of the clock of ``started``."""
        samples = self._samples
        samples.append((now, self._made))
        while len(samples) > 2 and now - samples[0][0] > _WINDOW:
            samples.popleft()
        since, made = samples[0] if len(samples) > 1 else (self.started, 0)
        rate = (self._made - made) / (now - since) if now > since else 0.0
        left = (self.rows - self.done) / rate if rate > 0 else None
        price = self.price_per_s
        return Snapshot(
            rows=self.rows,
            done=self.done,
            errors=self.errors,
            in_flight=in_flight,
            limit=limit,
            retries=retries,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            seconds=now - self.started,
            rows_per_s=rate if rate > 0 else None,
            seconds_left=left,
            cost=None if price is None else price * (now - self.started),
            cost_left=None if price is None or left is None else price * left,
        )
