"""What is recorded of a request's trace, and what the server is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from trtbuild_gateway.seams import Call, Outcome
from trtbuild_gateway.telemetry.traceparent import read_traceparent

_HEADERS = ("traceparent", "tracestate")


class Trace(Protocol):
    """The trace of one request.

    Attributes:
        id: In hexadecimal; empty without one.
    """

    id: str

    def upstream(self, call: Call) -> Mapping[str, str]:
        """Begin to ask a server, and return the headers for it."""

    def failed(self, error: str) -> None:
        """Note that the server has failed and another model is asked."""

    def end(self, call: Call, outcome: Outcome) -> None:
        """Note the end of the request."""


class Traces(Protocol):
    """Whoever records traces."""

    def begin(self, method: str, path: str, call: Call, headers: Mapping[str, str]) -> Trace:
        """Return the trace of a request that begins."""

    def close(self) -> None:
        """Send what is left; called once, after the last request."""


class PassedOn:
    """The trace of a client, which the gateway does not record.

    Triton records a request whose header says that it is not sampled, too, so it gets no header
    then.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        found = read_traceparent(headers.get("traceparent", ""))
        self.id = "" if found is None else found.trace_id
        sampled = found is not None and found.sampled
        self._sent = {name: headers[name] for name in _HEADERS if sampled and name in headers}

    def upstream(self, call: Call) -> Mapping[str, str]:  # noqa: ARG002
        """Return the client's headers."""
        return self._sent

    def failed(self, error: str) -> None:
        """Nothing is recorded."""

    def end(self, call: Call, outcome: Outcome) -> None:
        """Nothing is recorded."""


class NoTraces:
    """Records nothing."""

    def begin(self, method: str, path: str, call: Call, headers: Mapping[str, str]) -> Trace:  # noqa: ARG002
        """Return the client's trace."""
        return PassedOn(headers)

    def close(self) -> None:
        """Nothing is left."""


NO_TRACES = NoTraces()
