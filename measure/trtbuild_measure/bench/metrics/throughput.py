"""Throughput: ``output_tokens_per_s``, ``total_tokens_per_s``, ``requests_per_s`` and, for models
that generate no text, ``sequences_per_s``: texts or pairs of texts.

Counted inside the measured window, over all requests. The window opens when the first
request after the warm-up starts and closes when the last one starts (or when the time is up), so
that it excludes the burst at the start and the tail at the end.

Output tokens count at the arrival of the chunk that completed them. A request, and the tokens of
its prompt, that began before the window or ended after it count by the share of their time that
lies inside: a closed loop of 4 clients with answers of 0.5 s gives 8.0 requests/s, without a
fence-post error of ± 4. Failed requests do not count.

A run too short for a window (fewer than two requests a client, or all of them due at one moment) is
counted from its first start to its last end.

If the token count of any request is unknown, there is no rate of
tokens: the sum would cover fewer requests.
"""

from __future__ import annotations

from dataclasses import dataclass

from trtbuild_measure.bench.model import Timeline

RATES = ("output_tokens_per_s", "total_tokens_per_s", "requests_per_s", "sequences_per_s")


@dataclass(slots=True)
class Throughput:
    """Counts inside consecutive windows; ``seconds`` is their total length."""

    seconds: float = 0.0
    output_tokens: float = 0.0
    input_tokens: float = 0.0
    requests: float = 0.0
    sequences: float = 0.0
    opened: float = float("inf")
    closed: float = float("inf")
    output_known: bool = True
    input_known: bool = True

    def open(self, now: float, until: float = float("inf")) -> None:
        """Open a window; what arrives after ``until`` is outside."""
        self.opened, self.closed = now, until

    def close(self, now: float) -> None:
        """Close the window; requests still in flight add their share later."""
        self.closed = min(now, self.closed)
        self.seconds += max(0.0, self.closed - self.opened)

    def add(self, line: Timeline) -> None:
        """Add a successful request, measured or warm-up."""
        last = line.arrivals[-1] if line.arrivals else line.ended
        share = self._share(line.started, last)
        self.requests += share
        self.sequences += share * line.sequences
        self.input_tokens += share * line.input_tokens
        self.input_known = self.input_known and line.input_tokens > 0
        self.output_known = self.output_known and line.counted
        if line.tokens:
            pairs = zip(line.arrivals, line.tokens, strict=True)
            self.output_tokens += sum(n for at, n in pairs if self.opened <= at <= self.closed)
        else:
            self.output_tokens += share * line.output_tokens

    def _share(self, start: float, end: float) -> float:
        inside = min(end, self.closed) - max(start, self.opened)
        if inside <= 0:
            return 0.0
        return inside / (end - start)

    def per_second(self) -> dict[str, float | None]:
        """Return the rates; None where nothing was measured."""
        if self.seconds <= 0:
            return dict.fromkeys(RATES)
        output = self.output_tokens / self.seconds if self.output_known else None
        return {
            "output_tokens_per_s": output,
            "total_tokens_per_s": output + self.input_tokens / self.seconds
            if output is not None and self.input_known
            else None,
            "requests_per_s": self.requests / self.seconds,
            "sequences_per_s": self.sequences / self.seconds if self.sequences else None,
        }
