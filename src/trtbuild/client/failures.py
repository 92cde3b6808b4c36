"""Convert errors of a server or a transport into errors with a fix."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from trtbuild.errors import ServerError
from trtbuild.signature.dialects import installed
from trtbuild.wire.failures import without_frames

_TOO_LONG = re.compile(
    r"(maximum context length|longer than the maximum|max_model_len|exceeds? .*max_input_len)",
    re.IGNORECASE,
)


# A server's messages about a model whose engine ended, before and after its removal.
_DEAD = re.compile(r"engine is dead|EngineDeadError|not at ready state|is not ready")


class NotServedError(ServerError):
    """The server runs, but the model no longer answers, or was never there."""


class NoAnswerError(ServerError):
    """No server listens at the address."""


def unreachable(url: str, reason: str = "") -> NoAnswerError:
    """Return the error if nothing listens at ``url``."""
    return NoAnswerError(
        f"nothing answers at {url}",
        where=reason,
        fix="start a server with `trtbuild serve`, or name another with --url HOST:PORT",
    )


class RefusedRequestError(ServerError):
    """The server answered with an error.

    Attributes:
        status: The HTTP status; for gRPC the one that its code corresponds to; 0 if unknown.
        retry_after: Seconds that the server asks to wait; None without.
    """

    status: int = 0
    retry_after: float | None = None


class TooLongError(RefusedRequestError):
    """A prompt is longer than the model's context."""


class LateError(ServerError):
    """The server did not finish its answer in time."""


def timed_out(url: str, seconds: float) -> LateError:
    """Return the error for an answer that was not complete in time."""
    return LateError(
        f"no complete answer from {url} within {seconds:g} s",
        fix="ask for fewer tokens with --max-tokens, or wait longer with --timeout",
    )


def broken_off(url: str, reason: str) -> NoAnswerError:
    """Return the error for a dropped connection or an invalid response."""
    return NoAnswerError(
        f"the answer from {url} ended early",
        where=reason,
        fix="`trtbuild logs` shows whether the server ended; check the port and --protocol",
    )


def unknown_model(url: str, name: str, known: Sequence[str]) -> ServerError:
    """Return the error for an unknown model; it suggests the most similar one."""
    near = difflib.get_close_matches(name, known, 1)
    served = ", ".join(known) or "no model at all"
    return NotServedError(
        f"the server at {url} has no model {name!r}",
        where=f"it serves {served}",
        fix=f"did you mean {near[0]!r}?"
        if near
        else "name one of these, or convert the model first",
    )


def refused(name: str, message: str) -> ServerError:
    """Return the error for an error response."""
    text = without_frames(message)
    if _TOO_LONG.search(text):
        return TooLongError(
            f"the prompt is longer than {name!r} can take",
            where=text,
            fix="shorten it, ask for fewer --max-tokens, or convert with a larger "
            "`--set max_model_len=…`",
        )
    if _DEAD.search(text):
        return NotServedError(
            f"{name!r} does not answer any more: {text}",
            fix="`trtbuild logs` shows why; stop the server and start it again",
        )
    return RefusedRequestError(
        f"{name!r} refused the request: {text}",
        fix="see the server's log: `trtbuild logs`; `trtbuild show` the model's parameters",
    )


def not_callable(name: str) -> ServerError:
    """Return the error for a model whose tensors fit no request schema."""
    broken = (f"{one.name} of {one.distribution}: {one.problem}" for one in installed().broken)
    return ServerError(
        f"no request schema fits the tensors of {name!r}, so trtbuild cannot send it text",
        details=tuple(f"this request schema cannot be used: {line}" for line in broken),
        fix="`trtbuild show` prints client code for its tensors",
    )
