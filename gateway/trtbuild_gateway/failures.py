"""Errors as OpenAI's API answers them, and which one an upstream error becomes."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from trtbuild.errors import ServerError, TrtbuildError, UsageError
from trtbuild.wire.failures import (
    DeadlineError,
    RefusedError,
    UnreachableError,
    WireError,
    without_frames,
)
from trtbuild.wire.tensors import TensorError

_RETRY_SECONDS = 5
_LONGEST = 2000
"""Characters of a message: many quote what the client or the server sent."""
_END = 500
_LONGEST_PARAM = 200


class PhaseError(DeadlineError):
    """A phase of an answer took too long; ``code`` says which."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code

    @classmethod
    def first(cls, seconds: float) -> PhaseError:
        """Return the error of a missing first token."""
        return cls(f"no token within {seconds:g} s", "first_token_timeout")

    @classmethod
    def between(cls, seconds: float) -> PhaseError:
        """Return the error of a stream that has stalled."""
        return cls(f"no further token within {seconds:g} s", "token_timeout")

    @classmethod
    def whole(cls, seconds: float) -> PhaseError:
        """Return the error of an answer that is not complete."""
        return cls(f"no complete answer within {seconds:g} s", "upstream_timeout")


class ApiError(Exception):
    """An answer that is an error.

    Attributes:
        status: The HTTP status.
        message: One sentence for the user, with what to do.
        type: OpenAI's class of errors: ``invalid_request_error``, ``server_error``…
        param: The parameter at fault, None if it is not one.
        code: A constant for programs, such as ``model_not_found``.
        headers: Headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if len(message) > _LONGEST:
            message = f"{message[: _LONGEST - _END]} … {message[-_END:]}"
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type or _type_of(status)
        self.param = param and param[:_LONGEST_PARAM]
        self.code = code
        self.headers: Mapping[str, str] = headers or {}

    def body(self) -> dict[str, Any]:
        """Return the JSON value of the answer."""
        error = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }
        return {"error": error}

    def event(self) -> bytes:
        """Return the error as an event of a stream that has begun."""
        return b"data: " + msgspec.json.encode(self.body()) + b"\n\n"


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """Return the error of a request that cannot be served as it is."""
    return ApiError(400, message, param=param, code=code)


def unavailable(
    message: str, code: str | None = None, *, seconds: float = _RETRY_SECONDS
) -> ApiError:
    """Return the error of a request that may succeed later."""
    return ApiError(503, message, code=code, headers={"retry-after": str(max(1, round(seconds)))})


def of_exception(error: BaseException, model: str = "") -> ApiError:
    """Return the answer to a failure of any kind."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, UsageError):
        return invalid(_sentence(error))
    if isinstance(error, ServerError):
        return ApiError(502, _sentence(error), code="upstream_error")
    if isinstance(error, TensorError | UnicodeEncodeError | RecursionError):
        deep = isinstance(error, RecursionError)  # only a request has values of any depth
        fit = f"the request does not fit the model's tensors: {error}"
        return invalid("the request is nested too deeply" if deep else fit)
    if isinstance(error, WireError):
        return _of_wire(error, model)
    return ApiError(500, "the gateway failed; its log has the reason", code="internal_error")


def _of_wire(error: WireError, model: str) -> ApiError:
    subject = f"the server of {model!r}" if model else "the server"
    if isinstance(error, UnreachableError):
        return ApiError(
            502,
            f"{subject} cannot be reached: {error}",
            code="upstream_unreachable",
            headers={"retry-after": str(_RETRY_SECONDS)},
        )
    if isinstance(error, DeadlineError):
        code = error.code if isinstance(error, PhaseError) else "upstream_timeout"
        return ApiError(504, f"{subject} did not answer in time: {error}", code=code)
    if isinstance(error, RefusedError):
        return of_message(error.message, error.status)
    return ApiError(502, f"{subject} broke off its answer: {error}", code="upstream_error")


@dataclass(frozen=True, slots=True)
class _Known:
    """A message of a server, and the answer that it becomes."""

    pattern: re.Pattern[str]
    status: int
    code: str | None
    param: str | None


def of_message(message: str, status: int) -> ApiError:
    """Return the answer to a server's error message.

    Triton answers 400 to what is its own fault and reports errors of the request in streams
    with status 200, so the message decides where it is known.
    """
    text = without_frames(message)
    for known in _known_messages():
        if known.pattern.search(text):
            headers = {"retry-after": str(_RETRY_SECONDS)} if known.status == 503 else {}
            return ApiError(known.status, text, code=known.code, param=known.param, headers=headers)
    if status == 400:  # the client's fault or the model's: Triton says no more
        return ApiError(400, text, code="upstream_refused")
    if status in (404, 413, 429):
        return ApiError(status, text, code=None)
    if status in (499, 503):
        return unavailable(text)
    return ApiError(500, text, code="upstream_error")


@cache
def _known_messages() -> tuple[_Known, ...]:
    table = tomllib.loads((files("trtbuild_gateway") / "data" / "messages.toml").read_text("utf-8"))
    return tuple(
        _Known(
            re.compile(row["pattern"], re.IGNORECASE),
            row["status"],
            row.get("code"),
            row.get("param"),
        )
        for row in table["message"]
    )


def _sentence(error: TrtbuildError) -> str:
    parts = [error.what, error.where and f"({error.where})", *error.details]
    text = " ".join(part for part in parts if part)
    return f"{text}; {error.fix}" if error.fix else text


def _type_of(status: int) -> str:
    named = {
        401: "authentication_error",
        403: "permission_error",
        429: "rate_limit_error",
    }
    return named.get(status, "server_error" if status >= 500 else "invalid_request_error")
