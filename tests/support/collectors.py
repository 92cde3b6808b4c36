"""What receives traces."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """An OTLP receiver: ``requests`` as protobuf, and ``objects`` as JSON, which Triton sends."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.objects: list[dict[str, Any]] = []
        found, objects = self.requests, self.objects

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if "json" in self.headers["content-type"]:
                    objects.append(json.loads(body))
                else:
                    found.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"

    @property
    def spans(self) -> list[Span]:
        """All spans, in the order in which they began."""
        scopes = [s for r in self.requests for one in r.resource_spans for s in one.scope_spans]
        spans = [span for scope in scopes for span in scope.spans]
        return sorted(spans, key=lambda span: span.start_time_unix_nano)

    @property
    def resource(self) -> dict[str, Any]:
        """What sent the spans."""
        return values(self.requests[0].resource_spans[0].resource.attributes)


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector."""
    made = Collector()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
        thread.join()


def values(attributes: Any) -> dict[str, Any]:
    """Attributes as a dict."""

    def plain(value: Any) -> Any:
        kind = value.WhichOneof("value")
        found = getattr(value, kind)
        return [plain(one) for one in found.values] if kind == "array_value" else found

    return {one.key: plain(one.value) for one in attributes}
