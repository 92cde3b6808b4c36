"""The ids of a call: in its headers, in the target's log, and in ours where it failed."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from trtbuild.jsonlog import LogFormat, chosen_format, log_line
from trtbuild_batch.engine import CallError

_REQUEST, _TRACE = "x-request-id", "traceparent"


@contextmanager
def identified(headers: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Yield the headers of a call with a request id and a trace; log a CallError of the block.

    A sender's own are kept. A trace that begins here is unsampled
    (https://www.w3.org/TR/trace-context/#trace-flags): it joins the lines of two logs, and
    millions of rows record no span.
    """
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    own = {_REQUEST: secrets.token_hex(8), _TRACE: f"00-{trace}-{span}-00"}
    given = {**own, **headers}
    try:
        yield given
    except CallError as error:
        if chosen_format() is LogFormat.JSON:
            parts = given[_TRACE].split("-")
            fields = {
                "kind": str(error.kind),
                "request_id": given[_REQUEST],
                "trace_id": parts[1] if len(parts) > 1 else "",
            }
            line = log_line("warning", "trtbuild.batch", error.message, fields=fields)
            sys.stderr.write(f"{line}\n")
        raise
