"""The header ``traceparent`` of W3C's Trace Context (https://www.w3.org/TR/trace-context/)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class Traceparent:
    """Where a request belongs in a trace.

    Attributes:
        trace_id, span_id: In hexadecimal.
        sampled: Whether the caller records it.
    """

    trace_id: str
    span_id: str
    sampled: bool


def read_traceparent(value: str) -> Traceparent | None:
    """Return what a header says; None if it is invalid, which counts as missing."""
    found = _FORM.fullmatch(value)
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == "ff" or (version == "00" and more):
        return None
    if not (trace.strip("0") and span.strip("0")):
        return None
    return Traceparent(trace, span, sampled=bool(int(flags, 16) & _SAMPLED))
