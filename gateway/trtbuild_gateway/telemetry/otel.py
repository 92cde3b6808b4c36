"""Traces with OpenTelemetry's SDK, sent as OTLP over HTTP.

A request is two spans: one of the HTTP server, and below it one of GenAI's for each model that was
asked. The server continues the trace below that one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING

from trtbuild.errors import UsageError
from trtbuild_gateway import conventions as names
from trtbuild_gateway.seams import Call, Outcome
from trtbuild_gateway.settings import TraceSettings
from trtbuild_gateway.telemetry.spans import NoTraces, PassedOn, Trace, Traces

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

_log = logging.getLogger("trtbuild.gateway")
_PROVIDER = "trtbuild"
_LEFT = "client_left"
_LAST_SECONDS = 3.0


def traces_for(settings: TraceSettings) -> Traces:
    """Return what records traces as configured.

    Raises:
        UsageError: OpenTelemetry is not installed.
    """
    if not settings.endpoint:
        return NoTraces()
    try:
        return OtelTraces(settings)
    except ImportError:
        raise UsageError(
            "traces need OpenTelemetry's SDK and its OTLP exporter",
            fix="pip install 'trtbuild-gateway[otel]', or leave out traces.endpoint",
        ) from None


class OtelTraces:
    """Records the share of requests that is configured, and what clients have sampled.

    OpenTelemetry's variables for headers, timeouts and the resource are honoured.
    """

    def __init__(self, settings: TraceSettings) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

        self._endpoint = settings.endpoint
        release = version("trtbuild-gateway")
        named = {"service.name": "trtbuild-gateway", "service.version": release}
        given = OTELResourceDetector().detect().attributes
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.share)),
            resource=Resource.create({**named, **given}),
            shutdown_on_exit=False,
        )
        self._exporter = OTLPSpanExporter(endpoint=settings.endpoint)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("trtbuild.gateway", release)

    def begin(self, method: str, path: str, call: Call, headers: Mapping[str, str]) -> Trace:
        """Return the trace of a request; one that is not sampled leaves no span."""
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        span = self._tracer.start_span(
            f"{method} {call.endpoint}",
            TraceContextTextMapPropagator().extract(headers),
            SpanKind.SERVER,
            {
                names.METHOD: method,
                names.ROUTE: call.endpoint,
                names.PATH: path,
                names.SCHEME: "http",
                names.REQUEST_ID: [call.id],
            },
        )
        return Recorded(self._tracer, span) if span.is_recording() else Unsampled(headers)

    def close(self) -> None:
        """Send what is left; a collector that does not answer is not waited for."""
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(_LAST_SECONDS)
        if sending.is_alive():
            _log.warning("%s did not take the last spans in time", self._endpoint)
            self._exporter.shutdown()  # type: ignore[no-untyped-call] # ends its retries


class Unsampled(PassedOn):
    """The trace of a request that is not recorded: the server gets none."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(headers)
        self._sent = {}


class Recorded:
    """The trace of a request that is recorded."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        from opentelemetry.trace import format_trace_id

        self.id = format_trace_id(span.get_span_context().trace_id)
        self._tracer = tracer
        self._span = span
        self._asking: Span | None = None
        self._asked = 0.0

    def upstream(self, call: Call) -> Mapping[str, str]:
        """Begin a span of GenAI's, and return the headers that continue it."""
        from opentelemetry.trace import SpanKind, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        above = set_span_in_context(self._span)
        if (operation := names.OPERATIONS.get(call.endpoint)) is not None:
            given = {
                names.OPERATION: operation,
                names.PROVIDER: _PROVIDER,
                names.REQUEST_MODEL: call.model,
            }
            self._asked = time.monotonic()
            self._asking = self._tracer.start_span(
                f"{operation} {call.model}", above, SpanKind.CLIENT, given
            )
            above = set_span_in_context(self._asking)
        sent: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(sent, above)
        return sent

    def failed(self, error: str) -> None:
        """End the span of the model that failed."""
        if self._asking is not None:
            _end(self._asking, error, fails=True)
            self._asking = None

    def end(self, call: Call, outcome: Outcome) -> None:
        """End both spans."""
        error, left = outcome.error, outcome.error == _LEFT
        if self._asking is not None:
            self._asking.set_attributes(self._answered(outcome))
            _end(self._asking, error, fails=not left)
        self._span.set_attribute(names.STATUS, outcome.status)
        if call.model:
            self._span.set_attribute(names.REQUEST_MODEL, call.model)
        # For a server, an error of the client is none.
        _end(self._span, error, fails=outcome.status >= 500 or outcome.status < 400)

    def _answered(self, outcome: Outcome) -> dict[str, int | float | list[str]]:
        made: dict[str, int | float | list[str]] = {}
        if outcome.prompt_tokens:
            made[names.INPUT_TOKENS] = outcome.prompt_tokens
        if outcome.completion_tokens:
            made[names.OUTPUT_TOKENS] = outcome.completion_tokens
        if outcome.finish_reasons:
            made[names.FINISH_REASONS] = list(outcome.finish_reasons)
        if outcome.first_token:
            made[names.FIRST_CHUNK] = outcome.first_token - self._asked
        return made


def _end(span: Span, error: str, *, fails: bool) -> None:
    from opentelemetry.trace import StatusCode

    if error:
        span.set_attribute(names.ERROR, error)
        if fails:
            span.set_status(StatusCode.ERROR)
    span.end()
