"""``/v1/feedback``: what an application observes of an answer after it was given."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from trtbuild_gateway.failures import ApiError, invalid
from trtbuild_gateway.http.endpoint import Context

_ID = re.compile(r"(?:chatcmpl-|cmpl-|msg_|resp_)?([A-Za-z0-9._-]{1,128})")  # of an answer
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_FIELDS = ("id", "name", "value")
_LARGEST = 1e100  # of a report
# What the gateway measures itself, and names that have a meaning in a report.
_TAKEN = frozenset((
    "completion_tokens", "error", "fell_back", "latency_ms", "left", "prompt_tokens", "requests",
    "ttft_ms", "users",
))  # fmt: skip


async def feedback(context: Context) -> None:
    """Record a value for an answer that a variant of an experiment gave."""
    given = await context.exchange.json()
    ids, name, value = _checked(given)
    experiments = context.gateway.experiments
    if experiments is None:
        raise ApiError(
            404,
            "this gateway records no experiments: exposures.directory is not set",
            code="experiments_off",
        )
    await context.admit()
    id = await experiments.feedback(ids, name, value)
    body = {"object": "feedback", "id": id, "name": name, "value": value}
    await context.exchange.respond(msgspec.json.encode(body))


def _checked(given: dict[str, Any]) -> tuple[list[str], str, float]:
    """Return what the request's id may be, the name and the value; ApiError for anything else."""
    for name in given:
        if name not in _FIELDS:
            raise invalid(
                f"unknown parameter {name!r}; send {', '.join(_FIELDS)}", name, "unknown_parameter"
            )
    for name in _FIELDS:
        if name not in given:
            raise invalid(f"the parameter {name!r} is missing", name, "missing_parameter")
    id = _ID.fullmatch(given["id"]) if isinstance(given["id"], str) else None
    if id is None:
        raise invalid("'id' must be the id of an answer, or its x-request-id", "id")
    name, value = given["name"], given["value"]
    if not (isinstance(name, str) and _NAME.fullmatch(name)) or name in _TAKEN:
        raise invalid(
            "'name' must be a letter and up to 63 letters, digits, '_', '.' or '-', and none of "
            f"{', '.join(sorted(_TAKEN))}",
            "name",
        )
    if not isinstance(value, bool | int | float) or not abs(value) < _LARGEST:
        raise invalid(f"'value' must be true, false or a number below {_LARGEST:g}", "value")
    return list(dict.fromkeys((id[0], id[1]))), name, value
