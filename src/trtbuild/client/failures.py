"""Turns what a server or a transport reports into an error with a fix."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from trtbuild.errors import ServerError
from trtbuild.signature.dialects import installed

_TOO_LONG = re.compile(
    r"(maximum context length|longer than the maximum|max_model_len|exceeds? .*max_input_len)",
    re.IGNORECASE,
)


# What a server says of a model whose engine ended, before and after it took the model out.
_DEAD = re.compile(r"engine is dead|EngineDeadError|not at ready state|is not ready")
# Where in the server's files an error arose: Python's frames behind the message.
_FRAMES = re.compile(r"\s*\n\s*At:\n.*", re.DOTALL)


class NotServedError(ServerError):
    """The server runs, and the model does not answer any more, or was never there."""


class NoAnswerError(ServerError):
    """Nothing listens where a server should be."""


def unreachable(url: str, reason: str = "") -> NoAnswerError:
    """Nothing listens at ``url``."""
    return NoAnswerError(
        f"nothing answers at {url}",
        where=reason,
        fix="start a server with `trtbuild serve`, or name another with --url HOST:PORT",
    )


class LateError(ServerError):
    """Somebody listens and does not come to an end in time."""


def timed_out(url: str, seconds: float) -> LateError:
    """No end of the answer within the deadline."""
    return LateError(
        f"no complete answer from {url} within {seconds:g} s",
        fix="ask for fewer tokens with --max-tokens, or wait longer with --timeout",
    )


def broken_off(url: str, reason: str) -> NoAnswerError:
    """The connection ended before the answer did, or what came was not the protocol."""
    return NoAnswerError(
        f"the answer from {url} ended early",
        where=reason,
        fix="`trtbuild logs` shows whether the server ended; check the port and --protocol",
    )


def unknown_model(url: str, name: str, known: Sequence[str]) -> ServerError:
    """The server has no such model; the nearest of those it has is named."""
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
    """The server answered with an error."""
    text = " ".join(_FRAMES.sub("", message).split())
    if _TOO_LONG.search(text):
        return ServerError(
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
    return ServerError(
        f"{name!r} refused the request: {text}",
        fix="see the server's log: `trtbuild logs`; `trtbuild show` the model's parameters",
    )


def not_callable(name: str) -> ServerError:
    """No request schema fits the model's tensors."""
    broken = (f"{one.name} of {one.distribution}: {one.problem}" for one in installed().broken)
    return ServerError(
        f"no request schema fits the tensors of {name!r}, so trtbuild cannot send it text",
        details=tuple(f"this request schema cannot be used: {line}" for line in broken),
        fix="`trtbuild show` prints client code for its tensors",
    )
