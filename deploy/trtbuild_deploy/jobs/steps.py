"""What a verification tells: a step for each thing that was tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from trtbuild.errors import ServerError
from trtbuild.signature import ServedTask
from trtbuild.wire.failures import RefusedError, UnreachableError, WireError
from trtbuild_deploy.facts import ModelFacts

API_KEY = "TRTBUILD_API_KEY"
"""The variable with a key of the gateway, where it asks for one."""

BUFFERED = "a proxy in between buffers: turn response buffering off for this route"

_SHOWN = 200  # characters of what a server said
_KEYS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_NO_SUCH_PATH = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was tried; ``said`` is what was seen, ``fix`` what to do when it failed."""

    name: str
    ok: bool
    said: str
    fix: str = ""


def shown(text: str) -> str:
    """What a server said, on one line and not as long as a page."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


def root_of(address: str) -> str:
    """``address`` as the beginning of a URL."""
    return (address if "://" in address else f"http://{address}").rstrip("/")


def unanswered(name: str, url: str, error: WireError) -> Step:
    """The step for a call of the gateway that failed."""
    if isinstance(error, RefusedError):
        return refused(name, url, error.status, error.message)
    fix = "see the gateway's log"
    if isinstance(error, UnreachableError):
        fix = "check --gateway: does it run, and is its port reachable from here?"
    return Step(name, False, f"{url}: {shown(str(error))}", fix)


def refused(name: str, url: str, status: int, message: str) -> Step:
    """The step for an answer of the gateway that is none of success."""
    fix = "see the gateway's log"
    if status in _KEYS:
        fix = f"give a key of the gateway that may use the model, in the variable {API_KEY}"
    elif status in _NO_SUCH_PATH:
        fix = "check --gateway: no gateway answers there, or it does not know the model"
    return Step(name, False, f"{url}: HTTP {status}, {shown(message)}", fix)


def is_streamed(model: ModelFacts) -> bool:
    """Whether a model streams text."""
    return model.decoupled and ServedTask(model.task).makes_text


def require_passed(steps: Sequence[Step]) -> None:
    """Raise ServerError when a step failed, with the names of those that did."""
    failed = [step for step in steps if not step.ok]
    if failed:
        fixes = {step.fix for step in failed}
        raise ServerError(
            f"{len(failed)} of {len(steps)} checks of the deployment failed",
            details=tuple(f"{step.name}: {step.said}" for step in failed),
            fix=fixes.pop() if len(fixes) == 1 else "follow the fix of each failed check",
        )
