"""An engine that stalls or dies: requests must report it to the client."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psutil

from trtbuild import process, server
from trtbuild.check import Finding, Severity
from trtbuild.client import LLMClient, Sampling
from trtbuild.errors import ServerError
from trtbuild.probe.rules import DEATH_IS_TOLD
from trtbuild.probe.target import ProbedModel
from trtbuild.server import ServerHandle

NOTICED_SECONDS = 5.0
_DEADLINE = 4.0  # timeout of the request, so that the whole step stays within the above


@dataclass(frozen=True, slots=True)
class Death:
    """The result of the test.

    ``harmed``: the server can no longer shut down properly. It lost a stub, or an ensemble holds
    the request to the dead engine, which a client's disconnect does not reach.
    """

    findings: tuple[Finding, ...] = ()
    harmed: bool = False


def stall_and_kill(target: ProbedModel) -> Death:
    """Stop, then kill the process of the engine, each time followed by a request.

    The server belongs to the probe and ends right afterwards.
    """
    victim = engine_process(target.handle, (target.name, *target.members))
    if victim is None:
        return Death()
    harmed = _is_stub(victim) or bool(target.members)
    return Death(tuple(_noticed(target, victim)), harmed)


def _is_stub(victim: psutil.Process) -> bool:
    try:
        return "triton_python_backend_stub" in " ".join(victim.cmdline()[:1])
    except psutil.Error:
        return False


def _noticed(target: ProbedModel, victim: psutil.Process) -> Iterator[Finding]:
    for kind, number in (("stalled", signal.SIGSTOP), ("killed", signal.SIGKILL)):
        try:
            victim.send_signal(number)
        except psutil.Error:
            return
        seconds, said = _asked(target)
        if number == signal.SIGSTOP:
            _go_on(victim)
        if seconds > NOTICED_SECONDS:
            yield target.finding(
                DEATH_IS_TOLD, f"a {kind} engine was noticed only after {seconds:.1f} s"
            )
        if target.handle.health == "dead":
            return  # the server itself ended, which every client notices
        if number == signal.SIGKILL and not said:
            yield target.finding(
                DEATH_IS_TOLD,
                "requests to a killed engine wait for their own deadline: nobody tells them",
            )
    if _stays_ready(target):
        yield target.finding(
            DEATH_IS_TOLD,
            "the server says that the model is ready, over an engine that is dead",
            severity=Severity.INFO,
        )


def engine_process(handle: ServerHandle, models: Sequence[str]) -> psutil.Process | None:
    """Return the process that computes for ``models``: their largest stub, or its largest child."""
    names = "|".join(map(re.escape, models))
    instance = re.compile(rf"(?:{names})_\d+(?:_\d+)?")
    sizes: dict[psutil.Process, int] = {}
    for found in process.family(handle.pid, handle.started, handle.id):
        try:
            if any(instance.fullmatch(word) for word in found.cmdline()):
                sizes[found] = found.memory_info().rss
                for child in found.children(recursive=True):
                    sizes[child] = child.memory_info().rss
        except psutil.Error:
            continue
    return max(sizes, key=sizes.__getitem__, default=None)


def _asked(target: ProbedModel) -> tuple[float, bool]:
    """Return the seconds until a one-token request returned, and whether in time."""
    start = time.monotonic()
    try:
        with LLMClient(target.handle.grpc_url) as client:
            sampling = Sampling(max_tokens=1, temperature=0)
            client.answer(target.name, "Hello", sampling, timeout=_DEADLINE)
    except ServerError:
        seconds = time.monotonic() - start
        return seconds, seconds < _DEADLINE
    return time.monotonic() - start, True


def _go_on(victim: psutil.Process) -> None:
    try:
        victim.send_signal(signal.SIGCONT)
    except psutil.Error:
        return


def _stays_ready(target: ProbedModel) -> bool:
    """Whether the server still reports the model as ready."""
    until = time.monotonic() + NOTICED_SECONDS
    while server.says_ready(target.handle, target.name):
        if time.monotonic() > until:
            return True
        time.sleep(0.2)
    return False
