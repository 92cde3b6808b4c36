"""The gateway's own metrics, named by OpenTelemetry's GenAI conventions where those have a name."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from trtbuild_gateway.seams import Call, Outcome

_SECONDS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40,
    80, 160, 640,
)  # fmt: skip
_PER_TOKEN = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5,
)  # fmt: skip
_LABELS = ("endpoint", "model")


class Metrics:
    """Counts and times of calls.

    A call whose answer began with status 200 and ended with an error counts as that error.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
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
            "gen_ai_server_request_duration_seconds",
            "From the first byte of the request to the last of the answer.",
            _LABELS,
            buckets=_SECONDS,
            registry=registry,
        )
        self._first = Histogram(
            "gen_ai_server_time_to_first_token_seconds",
            "From the first byte of the request to the first token.",
            _LABELS,
            buckets=_SECONDS,
            registry=registry,
        )
        self._per_token = Histogram(
            "gen_ai_server_time_per_output_token_seconds",
            "Between tokens after the first.",
            _LABELS,
            buckets=_PER_TOKEN,
            registry=registry,
        )
        self._tokens = Counter(
            "gen_ai_client_token_usage",
            "Tokens.",
            (*_LABELS, "gen_ai_token_type"),
            registry=registry,
        )

    def begin(self) -> None:
        """Count a request that begins."""
        self._open.inc()

    def end(self, call: Call, outcome: Outcome, model: str) -> None:
        """Count a request that has ended; ``model`` is empty unless it exists."""
        self._open.dec()
        labels = (call.endpoint, model)
        self._calls.labels(*labels, str(outcome.status), outcome.error).inc()
        self._seconds.labels(*labels).observe(time.monotonic() - call.started)
        if outcome.prompt_tokens:
            self._tokens.labels(*labels, "input").inc(outcome.prompt_tokens)
        if outcome.completion_tokens:
            self._tokens.labels(*labels, "output").inc(outcome.completion_tokens)
        if outcome.first_token:
            self._first.labels(*labels).observe(outcome.first_token - call.started)
            if outcome.completion_tokens > 1:
                span = outcome.last_token - outcome.first_token
                self._per_token.labels(*labels).observe(span / (outcome.completion_tokens - 1))

    def page(self) -> bytes:
        """Return the metrics in Prometheus's text format."""
        return generate_latest(self.registry)
