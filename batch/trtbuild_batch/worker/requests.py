"""Messages as requests, and the messages that come of them: answers and dead letters."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from trtbuild_batch.asking import Call, Lines, RowError
from trtbuild_batch.asking.tasks import PATHS
from trtbuild_batch.engine import Receipt
from trtbuild_batch.inputs import Row
from trtbuild_batch.worker.model import Message, Outgoing

DEADLINE = "x-deadline"
REQUEST_ID = "x-request-id"
_SENT_ON = ("traceparent", "tracestate", REQUEST_ID)
"""Headers of a message that the request to the target has, too."""
_BY_FIELD = (("messages", "/chat/completions"), ("prompt", "/completions"),
             ("documents", "/rerank"), ("input", "/embeddings"))  # fmt: skip
_ERROR_CHARS = 500
_FAILURES = 10
_LATEST = datetime.max.replace(tzinfo=UTC, microsecond=0).timestamp()


def call_of(message: Message, model: str, endpoint: str, most: int) -> Call:
    """Return the request in a message: a line of an OpenAI batch file, or a body alone.

    Args:
        message: The message.
        model: Replaces the model that the message names, unless it is empty.
        endpoint: Where a body alone goes, such as ``/embeddings``; empty: by its fields.
        most: Bytes that a message may have.

    Raises:
        RowError: There is none.
    """
    size = len(message.body)
    if size > most:
        raise RowError(f"the message has {size:,} bytes, more than the {most:,} of --max-bytes")
    if not message.body:
        raise RowError("the message has no body; in a Redis stream it is the field body")
    try:
        value = json.loads(message.body)
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RowError(f"the message is not JSON: {why}") from None
    if not isinstance(value, dict):
        raise RowError("the message is not a JSON object")
    headers = {
        name: given
        for name in _SENT_ON
        if (given := message.headers.get(name, "")).isascii() and given.isprintable() and given
    }
    if message.id.isascii() and message.id.isprintable():
        headers = {REQUEST_ID: message.id, **headers}
    if "custom_id" in value and "body" in value:
        found = Lines(model).question(Row(0, value))
        assert isinstance(found, Call)
        return Call(found.path, found.body, headers)
    path = endpoint or next((path for name, path in _BY_FIELD if name in value), "")
    if not path:
        raise RowError(
            "the message is not a request of OpenAI's API: it has none of "
            f"{', '.join(name for name, _ in _BY_FIELD)}, and --endpoint is not given"
        )
    if value.get("stream"):
        raise RowError("stream: an answer in a queue is whole")
    return Call(path, {**value, "model": model} if model else value, headers)


def endpoint_of(text: str) -> str:
    """Return the path below ``/v1`` of an ``--endpoint``. ValueError if it is unknown."""
    path = f"/{text.removeprefix('/').removeprefix('v1/')}" if text else ""
    if path and path not in PATHS:
        raise ValueError(f"/v1{', /v1'.join(PATHS)}")
    return path


def deadline_of(message: Message) -> float | None:
    """Return when an answer is no longer wanted, in seconds since 1970; None without a deadline.

    Raises:
        RowError: The header is neither a number of seconds nor a time of RFC 3339.
    """
    text = message.headers.get(DEADLINE)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isnan(seconds):  # a timer at nan would disturb every other one
        return seconds
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = datetime.min
    if found.tzinfo is None:
        raise RowError(
            f"{DEADLINE} {text[:50]!r} is neither seconds since 1970 nor a time with its zone"
        )
    return found.timestamp()


def answer_of(message: Message, receipt: Receipt) -> Outgoing:
    """Return the answer: a line as in the output file of an OpenAI batch."""
    assert receipt.outcome is not None
    custom = _custom_id(message)
    head = json.dumps({"id": message.id, "custom_id": custom}, ensure_ascii=False)
    status = f'{{"status_code": 200, "request_id": {json.dumps(message.id)}, "body": '
    # The body is JSON already, and may be large.
    text = f'{head[:-1]}, "response": {status}{receipt.outcome.output}}}, "error": null}}'
    headers = {**message.headers, REQUEST_ID: message.headers.get(REQUEST_ID, custom)}
    return Outgoing(message.id, text.encode("utf-8", "surrogatepass"), headers, message.key)


def _custom_id(message: Message) -> str:
    """Return the name that its sender gave a message; the broker's if it has none."""
    try:
        value = json.loads(message.body)
        found = value.get("custom_id") if isinstance(value, dict) and "body" in value else None
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, str) else message.headers.get(REQUEST_ID, message.id)


def dead_letters(message: Message, receipt: Receipt, source: str) -> Iterator[Outgoing]:
    """Yield a message that nobody answers, for a broker to take the first that is not too large: as
    it came, with its history in headers, so that it can be sent again as it is; without its body;
    also without its own headers."""
    failures = [*message.failures[-_FAILURES:]]
    ours: dict[str, str] = {
        "x-error": _line(receipt.error),
        "x-error-kind": receipt.kind,
        "x-attempts": str(receipt.attempts),
        "x-deliveries": str(message.deliveries),
        "x-errors": json.dumps(failures),
        "x-first-seen": _time(message.sent or message.received),
        "x-source": source,
        "x-message-id": message.id,
    }
    yield Outgoing(message.id, message.body, {**message.headers, **ours}, message.key)
    ours["x-body-bytes"] = str(len(message.body))
    yield Outgoing(message.id, b"", {**message.headers, **ours}, message.key)
    yield Outgoing(message.id, b"", ours)


def failure(kind: str, text: str, when: float) -> Mapping[str, Any]:
    """Return a failed call, for the history."""
    return {"time": _time(when), "kind": kind, "message": _line(text)}


def _time(seconds: float) -> str:
    """Return a time of RFC 3339. A sender may give a message any time: one after 9999 is written as
    the last of that year."""
    return datetime.fromtimestamp(min(max(seconds, 0.0), _LATEST), UTC).isoformat(
        timespec="milliseconds"
    )


def _line(text: str) -> str:
    """Return text as one line of ASCII: not every broker takes more in a header."""
    return " ".join(text.encode("ascii", "backslashreplace").decode().split())[:_ERROR_CHARS]
