"""Load one model with its dependencies, and report why it does not load."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trtbuild import server
from trtbuild.check import Finding
from trtbuild.errors import ServerError
from trtbuild.explain import Reason, explain
from trtbuild.probe.rules import LOADS
from trtbuild.probe.target import ProbedModel
from trtbuild.wire.blocking import run
from trtbuild.wire.failures import RefusedError, WireError
from trtbuild.wire.triton_http import TritonHttp

_SECONDS = 900.0


def load(target: ProbedModel) -> Iterator[Finding]:
    """Load the model; return a finding with the root cause if it fails.

    The server loads the members of an ensemble with it; loading one again would reload it.
    """
    if server.says_ready(target.handle, target.name):
        return
    said = _requested(target)
    if not said:
        return
    reason = _reason(target)
    if reason is None:
        yield target.finding(LOADS, f"{target.name!r} does not load", server_message=said)
        return
    why = reason.message if reason.cause == "unknown" else reason.title
    yield target.finding(
        LOADS,
        f"{target.name!r} does not load: {why}",
        server_message=reason.message,
        fix=reason.fix,
        place=(reason.file, reason.line, reason.column),
    )


def _requested(target: ProbedModel) -> str:
    """Return the server's error, empty once it is loaded."""

    async def ask() -> None:
        async with TritonHttp(target.handle.http_url) as triton:
            await triton.load(target.name, seconds=_SECONDS)

    try:
        run(ask())
    except RefusedError as error:
        return str(error)
    except WireError as error:
        return f"the server did not answer the request to load it: {error}"
    return ""


def _reason(target: ProbedModel) -> Reason | None:
    """Return the root cause in the log for this model, else one without a model."""
    try:
        text = Path(target.handle.log_path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    reasons = explain(text.splitlines(), target.repo).reasons
    named = [one for one in reasons if one.model == target.name]
    return next(iter(named or [one for one in reasons if not one.model]), None)


def gone(target: ProbedModel) -> str:
    """Return why the server has ended, empty while it runs."""
    try:
        server.watch(target.handle)
    except ServerError as error:
        return " ".join((error.what, *error.details))
    return ""
