"""Readiness by a real inference: a server may report ready although a model is dead."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from trtbuild.client.failures import NotServedError
from trtbuild.client.llm import LLMClient
from trtbuild.client.transport import Protocol
from trtbuild.errors import ServerError
from trtbuild.progress import SILENT, Progress
from trtbuild.signature import ServedModel

_POLL_SECONDS = 0.2


def wait_ready(
    url: str,
    models: Iterable[str],
    deadline: float,
    *,
    protocol: Protocol = "grpc",
    card: Callable[[str], ServedModel | None] = lambda _: None,
    watch: Callable[[], None] | None = None,
    progress: Progress = SILENT,
) -> float:
    """Wait until every model answers a cheap request of its task, or reports ready if it has no
    request schema.

    Args:
        url: ``HOST:PORT`` of ``protocol``.
        models: Names to wait for.
        deadline: Seconds from now.
        card: As in :class:`LLMClient`.
        watch: Called between polls; may raise a better error, such as a dead process.

    Returns:
        Seconds until ready.

    Raises:
        NotServedError: the first request to a model ended its engine.
        ServerError: not ready in time; the error has the model and the last error response.
    """
    start = time.monotonic()
    with LLMClient(url, protocol, card) as client:
        for name in models:
            progress.step(f"waiting for {name}")
            _wait_for(client, name, start + deadline, deadline, watch)
    return time.monotonic() - start


def _wait_for(
    client: LLMClient, name: str, until: float, deadline: float, watch: Callable[[], None] | None
) -> None:
    last = "the server does not say that it is ready"
    while True:
        if watch is not None:
            watch()
        if client.ready(name):
            try:
                client.try_out(name, timeout=max(1.0, until - time.monotonic()))
            except NotServedError:
                raise  # its engine is dead and will not be restarted
            except ServerError as error:
                last = error.what
            else:
                return
        if time.monotonic() > until:
            raise ServerError(
                f"{name!r} did not become ready within {deadline:g} s",
                where=last,
                fix="`trtbuild logs` shows what it is doing; a large model needs more time",
            )
        time.sleep(_POLL_SECONDS)
