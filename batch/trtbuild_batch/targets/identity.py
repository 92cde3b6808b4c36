"""The ids of a call: in its headers, in the target's log, and in ours where it failed."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from trtbuild.jsonlog import LogFormat, chosen_format, log_line
from trtbuild_batch.engine import CallError

REQUEST, _TRACE = "x-request-id", "traceparent"


@contextmanager
def identified(headers: Mapping[str, str], *, traced: bool = True) -> Iterator[dict[str, str]]:
    """Yield the headers of a call with a request id and a trace; log a CallError of the block.

    A sender's own are kept. A trace that begins here is unsampled
    (https://www.w3.org/TR/trace-context/#trace-flags): it joins the lines of two logs, and
    millions of rows record no span. Not ``traced`` is a call to Triton, which records unsampled
    traces, too.
    """
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    given = {REQUEST: secrets.token_hex(8)}
    given |= {_TRACE: f"00-{trace}-{span}-00"} if traced else {}
    given |= headers
    try:
        yield given
    except CallError as error:
        if chosen_format() is LogFormat.JSON:
            parts = given.get(_TRACE, "").split("-")
            fields = {"kind": str(error.kind), "request_id": given[REQUEST]}
            fields |= {"trace_id": "".join(parts[1:2])} if traced else {}
            line = log_line("warning", "trtbuild.batch", error.message, fields=fields)
            sys.stderr.write(f"{line}\n")
        raise
