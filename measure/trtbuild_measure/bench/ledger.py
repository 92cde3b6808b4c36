"""What is recorded of one load on one target, in bounded memory for any number of requests."""

from __future__ import annotations

from dataclasses import dataclass, field

from trtbuild_measure.bench.counting import Counter
from trtbuild_measure.bench.histogram import Distribution
from trtbuild_measure.bench.metrics import LATENCIES
from trtbuild_measure.bench.metrics.failures import Failures
from trtbuild_measure.bench.metrics.goodput import Goodput
from trtbuild_measure.bench.metrics.throughput import Throughput
from trtbuild_measure.bench.model import Stream, Timeline
from trtbuild_measure.bench.series import Series

_ENOUGH = 5  # prompts of random words: two tokenizers would not differ by the same count on all


@dataclass(slots=True)
class Tokens:
    """The tokenizer's counts beside the server's, over requests where both are known.

    ``added`` is the smallest and largest surplus of the server's count of a prompt over ours, from
    ``prompts`` prompts; the other fields count answers.
    ``uncounted`` are answers without a token count. ``hidden`` are tokens of thinking whose
    text the server keeps: they are in no other figure. ``first`` are those of the first chunks of
    ``chunked`` answers; ``damaged`` are answers with halves of characters.
    """

    output: int = 0
    input: int = 0
    compared: int = 0
    ours: int = 0
    server: int = 0
    disagreeing: int = 0
    uncounted: int = 0
    hidden: int = 0
    first: int = 0
    chunked: int = 0
    damaged: int = 0
    prompts: int = 0
    added: tuple[int, int] = (0, 0)

    def add(self, line: Timeline, stream: Stream, *, counted: bool) -> None:
        """A successful measured request; ``counted`` by a tokenizer, not by the server."""
        self.output += line.output_tokens
        self.uncounted += not line.counted
        self.input += line.input_tokens
        self.hidden += stream.hidden
        self.damaged += stream.damaged
        if line.tokens:
            self.first += line.first
            self.chunked += 1
        if stream.input_tokens and stream.prompt.tokens:
            more = stream.input_tokens - stream.prompt.tokens
            fewest, most = self.added if self.prompts else (more, more)
            self.added = min(fewest, more), max(most, more)
            self.prompts += 1
        other = stream.calls or stream.damaged  # the text is only part of what the model generated
        if counted and stream.shown is not None and line.tokens and not other:
            self.compared += 1
            self.ours += line.output_tokens
            self.server += stream.shown
            self.disagreeing += line.output_tokens != stream.shown

    @property
    def off_by(self) -> float:
        """Return the relative difference of the tokenizer's sum from the server's."""
        return abs(self.ours - self.server) / self.server if self.server else 0.0

    @property
    def textless(self) -> int:
        """Tokens that the server counts but that have no text; 0 if unknown.

        With ``ignore_eos`` a model generates past its end-of-text tokens, which the text leaves
        out. This holds only if the tokenizer is the served one: then the server's count of every
        prompt exceeds ours by the same number (BOS or a chat template). With another tokenizer
        the difference varies.
        """
        fewest, most = self.added
        same = self.prompts and fewest >= 0 and most - fewest <= 1
        known = same and (most <= 1 or self.prompts >= _ENOUGH)
        return self.server - self.ours if known and self.server > self.ours else 0


@dataclass(slots=True)
class Ledger:
    """Records requests as they finish."""

    counter: Counter
    goodput: Goodput
    latencies: dict[str, Distribution] = field(
        default_factory=lambda: {metric.NAME: Distribution() for metric in LATENCIES}
    )
    throughput: Throughput = field(default_factory=Throughput)
    failures: Failures = field(default_factory=Failures)
    tokens: Tokens = field(default_factory=Tokens)
    lengths: Distribution = field(default_factory=Distribution)
    opening: Distribution = field(default_factory=Distribution)
    series: Series = field(default_factory=Series)
    warmups: int = 0
    waited: int = 0
    ok: int = 0
    asked_tokens: int = 0

    def add(self, stream: Stream, measured: bool) -> None:
        """Add a request that succeeded or failed."""
        self.waited += stream.waited
        line = None if stream.error else self.counter.timeline(stream)
        if line is not None and not (line.output_tokens or line.arrivals or line.sequences):
            line = None
            ended = f" (finish_reason {stream.finish_reason})" if stream.finish_reason else ""
            stream.fail(stream.ended, "empty", f"a complete answer without any text{ended}")
        self.series.add(stream, line)
        if line is not None:
            self.throughput.add(line)
        if not measured:
            self.warmups += 1
        elif line is None:
            self.failures.add(stream.error, stream.message)
            self.goodput.fail()
        else:
            self._measured(stream, line)

    def _measured(self, stream: Stream, line: Timeline) -> None:
        number = self.ok
        self.ok += 1
        values = {metric.NAME: metric.values(line) for metric in LATENCIES}
        for name, found in values.items():
            self.latencies[name].add(found, number)
        self.goodput.add(values)
        self.tokens.add(line, stream, counted=self.counter.tokenizer is not None)
        self.opening.add((stream.opening * 1e3,), number)
        if line.sequences:
            return
        self.asked_tokens += stream.prompt.max_tokens
        if line.counted:
            self.lengths.add((float(line.output_tokens),), number)

    @property
    def measured(self) -> int:
        """Requests after the warm-up that ended."""
        return self.ok + self.failures.total
