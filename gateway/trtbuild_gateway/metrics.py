"""The gateway's own metrics, named by OpenTelemetry's GenAI conventions where those have a name."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from trtbuild_gateway.conventions import FIRST_TOKEN_SECONDS, PER_TOKEN_SECONDS, REQUEST_SECONDS
from trtbuild_gateway.seams import Call, Outcome

_SECONDS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40,
    80, 160, 640,
)  # fmt: skip
_PER_TOKEN = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5,
)  # fmt: skip
_LABELS = ("endpoint", "model")


_REMEMBERED = 256
_CONTROL = "/v1/model/"  # calls that load a model do not ask it


@dataclass
class _Last:
    """The last calls of a model, for a look without a Prometheus server."""

    requests: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    first: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    per_token: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))


class Recent:
    """Totals of each model, and the times of its last calls."""

    def __init__(self) -> None:
        self._models: dict[str, _Last] = {}

    def note(self, model: str, outcome: Outcome, first: float | None, each: float | None) -> None:
        """Note a call that has ended, with the seconds to its first token and between tokens."""
        last = self._models.setdefault(model, _Last())
        last.requests += 1
        last.errors += bool(outcome.error) and outcome.error != "client_left"
        last.input_tokens += outcome.prompt_tokens
        last.output_tokens += outcome.completion_tokens
        if first is not None:
            last.first.append(first)
        if each is not None:
            last.per_token.append(each)

    def of(self, names: Iterable[str]) -> dict[str, int | dict[str, float]]:
        """Return totals of a model by its names, and medians and 95th percentiles of its last
        calls; empty if it was not asked."""
        found = [self._models[name] for name in names if name in self._models]
        if not found:
            return {}
        made: dict[str, int | dict[str, float]] = {
            key: sum(getattr(one, key) for one in found)
            for key in ("requests", "errors", "input_tokens", "output_tokens")
        }
        for key, values in (
            ("first_token_seconds", [value for one in found for value in one.first]),
            ("between_tokens_seconds", [value for one in found for value in one.per_token]),
        ):
            if values:
                made[key] = {"p50": _quantile(values, 50), "p95": _quantile(values, 95)}
        return made


def _quantile(values: list[float], percent: int) -> float:
    if len(values) == 1:
        return round(values[0], 6)
    return round(statistics.quantiles(values, n=100, method="inclusive")[percent - 1], 6)


class Metrics:
    """Counts and times of calls.

    A call whose answer began with status 200 and ended with an error counts as that error. Only
    streams have times of tokens: another answer arrives as a whole.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.recent = Recent()
        registry = self.registry
        self._calls = Counter(
            "trtbuild_gateway_requests",
            "Answered requests.",
            (*_LABELS, "status", "error"),
            registry=registry,
        )
        self._open = Gauge(
            "trtbuild_gateway_requests_in_flight", "Open requests.", registry=registry
        )
        self._seconds = Histogram(
            REQUEST_SECONDS,
            "From the first byte of the request to the last of the answer.",
            _LABELS,
            buckets=_SECONDS,
            registry=registry,
        )
        self._first = Histogram(
            FIRST_TOKEN_SECONDS,
            "From the first byte of the request to the first token of its stream.",
            _LABELS,
            buckets=_SECONDS,
            registry=registry,
        )
        self._per_token = Histogram(
            PER_TOKEN_SECONDS,
            "Between the tokens of an answer, after the first: the mean of each stream.",
            _LABELS,
            buckets=_PER_TOKEN,
            registry=registry,
        )
        self._tokens = Counter(
            "gen_ai_client_token_usage",
            "Tokens of prompts and answers; no prompt of a request that failed before its answer.",
            (*_LABELS, "gen_ai_token_type"),
            registry=registry,
        )

        self._fallbacks = Counter(
            "trtbuild_gateway_fallbacks",
            "Requests that went on to another model.",
            ("model", "fallback"),
            registry=registry,
        )
        self._reloads = Counter(
            "trtbuild_gateway_reloads", "Settings read again.", ("outcome",), registry=registry
        )

    def fell_back(self, model: str, fallback: str) -> None:
        """Count a request that another model answers."""
        self._fallbacks.labels(model, fallback).inc()

    def reloaded(self, outcome: str) -> None:
        """Count a reload; ``outcome`` is ``done`` or ``refused``."""
        self._reloads.labels(outcome).inc()

    def begin(self) -> None:
        """Count a request that begins."""
        self._open.inc()

    def end(self, call: Call, outcome: Outcome, model: str) -> None:
        """Count a request that has ended; ``model`` is empty unless it exists."""
        self._open.dec()
        labels = (call.endpoint, model)
        self._calls.labels(*labels, str(outcome.status), outcome.error).inc()
        self._seconds.labels(*labels).observe(outcome.ended - call.started)
        if outcome.prompt_tokens and (outcome.completion_tokens or not outcome.error):
            self._tokens.labels(*labels, "input").inc(outcome.prompt_tokens)
        if outcome.completion_tokens:
            self._tokens.labels(*labels, "output").inc(outcome.completion_tokens)
        first = each = None
        if outcome.first_token:
            first = outcome.first_token - call.started
            self._first.labels(*labels).observe(first)
            if outcome.later_tokens > 0:
                each = outcome.later_seconds / outcome.later_tokens
                self._per_token.labels(*labels).observe(each)
        if model and not call.endpoint.startswith(_CONTROL):
            self.recent.note(model, outcome, first, each)

    def page(self) -> bytes:
        """Return the metrics in Prometheus's text format."""
        return generate_latest(self.registry)
