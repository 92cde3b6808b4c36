"""Programs that watch a server from beside it; another package knows which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol, cast

from trtbuild.errors import UsageError
from trtbuild.pipeline.serve import ServePlan, stopped_on_failure
from trtbuild.plugins import points
from trtbuild.server import ServerHandle

ENTRY_POINT_GROUP = "trtbuild.observers.v1"


class Observing(Protocol):
    """What will watch a server.

    Attributes:
        arguments: What ``tritonserver`` needs for it.
        notes: What is missing, as sentences.
    """

    arguments: tuple[str, ...]
    notes: tuple[str, ...]

    def start(self, metrics: str, mark: str, folder: Path) -> Mapping[str, str]:
        """Start the programs and return where to look: an address or a file by what it shows.

        Args:
            metrics: ``HOST:PORT`` of the server's page of metrics.
            mark: The programs carry it, so whatever stops the server stops them.
            folder: For their files.
        """


class Observer(Protocol):
    """An entry point of :data:`ENTRY_POINT_GROUP`."""

    def prepare(self, repo: Path, *, embedded: bool) -> Observing:
        """Decide what can watch a server of ``repo``; start nothing."""


def prepare_observing(plan: ServePlan) -> tuple[ServePlan, Observing]:
    """Return the plan of a server that can be watched, and what will watch it.

    Raises:
        UsageError: No package brings an observer, or the server runs in a container.
        TrtbuildError: As the observer, such as when no program is installed.
    """
    found = points(ENTRY_POINT_GROUP)
    if not found:
        raise UsageError("nothing that observes a server is installed", fix="leave --observe out")
    mode = plan.choice.mode
    if mode == "docker":
        raise UsageError(
            "--observe watches a server on this machine, and mode docker runs it in a container",
            fix="`trtbuild deploy compose` has containers of both tools, in the profile observe",
        )
    observer = cast("Observer", found[0].load())
    observing = observer.prepare(plan.contents.repo, embedded=mode == "embedded")
    arguments = (*plan.options.arguments, *observing.arguments)
    return replace(plan, options=replace(plan.options, arguments=arguments)), observing


def start_observing(handle: ServerHandle, observing: Observing) -> dict[str, str]:
    """Start what watches a server; if it cannot be started, the server is stopped.

    Raises:
        ServerError: A program ended or did not answer.
    """
    with stopped_on_failure(handle):
        folder = Path(handle.log_path).with_name("observed")
        folder.mkdir()
        return dict(observing.start(handle.metrics_url, handle.id, folder))
