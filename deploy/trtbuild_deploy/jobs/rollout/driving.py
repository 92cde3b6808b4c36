"""The loop of a rollout: weights up, step by step, or back to none."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trtbuild import process
from trtbuild.errors import ServerError, UsageError
from trtbuild.files import disk_trouble, scratch
from trtbuild.progress import SILENT, Progress
from trtbuild.resources import state_dir
from trtbuild_deploy.jobs.rollout.measuring import (
    Measurement,
    Server,
    chosen,
    measured,
    pages_of,
    require_ready,
    scrapes,
    seen_metrics,
)
from trtbuild_deploy.local import Envoy, Prometheus
from trtbuild_deploy.local.envoy import CANARY_SERVER, STABLE
from trtbuild_deploy.settings import Settings
from trtbuild_deploy.workload import Analysis

_FAILURES = 2  # as failureLimit 1 of Argo's analysis: one slow scrape rolls nothing back
_ALL = 100
_FIRST_SECONDS = 60.0
_POLL = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """A rollout.

    Attributes:
        stable, canary: The servers.
        listen: Host and port for users.
        settings: Its sections ``gate`` and ``argo`` hold limits and steps.
        pause: Seconds of each step.
        patience: Seconds that a step waits for a value of each analysis.
        window: Seconds over which rates are taken; a server that sends nothing for so long while
            requests are open is stuck.
        interval: Seconds between two measurements.
        drain: Seconds for open requests to finish at the end.
        stay: Whether Envoy serves on at the end, until Ctrl-C.
    """

    stable: Server
    canary: Server
    listen: tuple[str, int]
    settings: Settings
    pause: float = 10
    patience: float = 60
    window: float = 6
    interval: float = 1
    drain: float = 60
    stay: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """How a rollout ended.

    Attributes:
        promoted: Whether the new server has all requests; otherwise it has none.
        why: The reason, as a sentence.
        last: The last measurement.
    """

    promoted: bool
    why: str
    last: Measurement


def roll_out(
    plan: Plan,
    *,
    on_measurement: Callable[[Measurement], None] = lambda _: None,
    until: Callable[[Result], None] = lambda _: None,
    progress: Progress = SILENT,
) -> Result:
    """Move users from the stable server to the new one, or back at the first proof against it.

    Args:
        plan: What to do.
        on_measurement: Called after each measurement.
        until: Called with the result while Envoy still serves; it serves until this returns.
        progress: Called before a slow step.

    Raises:
        UnsupportedError: Envoy or Prometheus is not installed.
        UsageError: Both servers are one, or Envoy cannot listen at the place for users.
        ServerError: A server is not ready, Envoy or Prometheus fails, or Envoy ends while it is to
            serve on.
    """
    _require_two(plan.stable, plan.canary)
    _require_free(plan.listen)
    for name, server in (("stable", plan.stable), ("new", plan.canary)):
        require_ready(name, server)
    # What a killed rollout left is removed by the next one.
    with scratch(_place(), "rollout") as folder:
        progress.step("starting Envoy and Prometheus")
        with _running(plan, folder) as (envoy, prometheus, wanted):
            try:
                found = _decide(plan, envoy, _Eyes(prometheus, wanted, on_measurement), progress)
                _let_go(envoy, found, progress)
                _serve_on(plan, envoy, lambda: until(found))
            finally:  # also when interrupted: streams that are open are nobody's fault
                progress.step("waiting for open requests")
                envoy.drain()
    return found


def _place() -> Path:
    place = state_dir("rollouts")
    with disk_trouble(place, "nothing was started"):
        place.mkdir(parents=True, exist_ok=True)
    return place


@contextmanager
def _running(plan: Plan, folder: Path) -> Iterator[tuple[Envoy, Prometheus, tuple[Analysis, ...]]]:
    stable, canary = pages_of(plan.stable), pages_of(plan.canary)
    servers = (plan.stable.address, plan.canary.address)
    with Envoy(*servers, plan.listen, folder, drain_seconds=plan.drain) as envoy:
        config = scrapes(
            envoy.address, {"stable": tuple(stable), "canary": tuple(canary)}, plan.interval
        )
        wanted = chosen(seen_metrics(*canary.values()), plan.settings, plan.window)
        with Prometheus(config, folder) as prometheus:
            yield envoy, prometheus, wanted


@dataclass(frozen=True, slots=True)
class _Eyes:
    """Who measures, and who hears of it."""

    prometheus: Prometheus
    wanted: tuple[Analysis, ...]
    tell: Callable[[Measurement], None]

    def open(self, progress: Progress) -> None:
        """Wait for the first scrape.

        Raises:
            ServerError: There is none.
        """
        progress.step("waiting for the first measurement")
        until = time.monotonic() + _FIRST_SECONDS
        while self.prometheus.value('sum(up{job="envoy"})') != 1:
            if time.monotonic() > until:
                raise ServerError(
                    f"Prometheus did not read Envoy's metrics within {_FIRST_SECONDS:.0f} s",
                    where=self.prometheus.address,
                    fix="this machine may be too busy: try again, with a longer --window",
                )
            time.sleep(_POLL)

    def look(self, percent: int) -> Measurement:
        found = measured(self.prometheus, self.wanted, percent)
        self.tell(found)
        return found


def _decide(plan: Plan, envoy: Envoy, eyes: _Eyes, progress: Progress) -> Result:
    """Take every step, the last one with all requests; stop at the first that fails.

    An interrupted rollout is rolled back.
    """
    eyes.open(progress)
    progress.step(f"watching the stable server for {plan.window:g} s")
    time.sleep(plan.window)  # rates need that much of the past
    failures: Counter[str] = Counter()
    for percent in (*plan.settings.argo.steps, _ALL):
        progress.step(f"{percent} % of the requests")
        envoy.weigh(percent)
        why = "interrupted"
        try:
            why, last = _step(plan, eyes, percent, failures)
        finally:
            if why:
                envoy.weigh(0)
        if why:
            return Result(promoted=False, why=why, last=last)
    return Result(promoted=True, why="every step passed", last=last)


def _step(plan: Plan, eyes: _Eyes, percent: int, failures: Counter[str]) -> tuple[str, Measurement]:
    """Measure until the step is over; return why the new server fails it, empty if it passes."""
    unseen = {one.name for one in eyes.wanted if one.needed}
    limits = {one.name: one.limit for one in eyes.wanted}
    began = time.monotonic()
    while True:
        time.sleep(plan.interval)
        found = eyes.look(percent)
        failures.update(found.failed)
        unseen -= {name for name, value in found.values.items() if value is not None}
        for name in found.failed:
            if failures[name] >= _FAILURES:
                return f"{name} {found.values[name]:.3g} is above {limits[name]:g}", found
        taken = time.monotonic() - began
        if taken >= plan.pause and not unseen:
            return "", found
        if taken >= max(plan.pause, plan.patience):
            named = ", ".join(sorted(unseen))
            return f"nothing was measured in {taken:.0f} s: {named}", found


def _let_go(envoy: Envoy, found: Result, progress: Progress) -> None:
    """Wait until the server that lost has answered its last request."""
    loser = STABLE if found.promoted else CANARY_SERVER
    progress.step(f"waiting for the open requests of {loser}")
    envoy.wait_for_none(f"cluster.{loser}.upstream_rq_active")


def _serve_on(plan: Plan, envoy: Envoy, begin: Callable[[], None]) -> None:
    """Call ``begin``, and where the plan says so wait for Ctrl-C, which is the wanted end."""
    try:
        begin()
        while plan.stay:
            if not envoy.running:
                raise ServerError(
                    "Envoy has ended, so nothing answers users any more",
                    where=envoy.address,
                    fix="send users to a server itself, then start the rollout again",
                )
            time.sleep(_POLL)
    except KeyboardInterrupt:
        if not plan.stay:
            raise


def _require_two(stable: Server, canary: Server) -> None:
    if stable.place == canary.place:
        raise UsageError(
            f"both servers are {stable.address}, so nothing would be compared",
            fix="start the new version on a port of its own, and name that one second",
        )


def _require_free(listen: tuple[str, int]) -> None:
    host, port = listen
    if not process.port_is_free(0, host):
        raise UsageError(
            f"{host} is not an address of this machine",
            fix="such as --url 127.0.0.1:8080, or 0.0.0.0:8080 for other machines",
        )
    if not process.port_is_free(port, host):
        owner = process.port_owner(port) or "another program"
        raise UsageError(
            f"port {port} is taken by {owner}", where=host, fix="choose another one with --url"
        )


def require_promoted(found: Result) -> None:
    """Raise ServerError when the new server was rolled back."""
    if not found.promoted:
        fix = "read the new server's log; it gets no more requests"
        if not found.last.failed:  # nobody asked it
            fix = "let users send their requests to --url, or wait longer with --patience"
        raise ServerError(
            f"rolled back: {found.why}",
            where=f"at {found.last.percent} % of the requests",
            fix=fix,
        )
