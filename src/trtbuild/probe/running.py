"""Compare a running server with a repository: tensors, and the answers that conversions kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from trtbuild.check import Finding
from trtbuild.client import LLMClient
from trtbuild.client.failures import NoAnswerError
from trtbuild.client.transport import Protocol
from trtbuild.errors import ServerError
from trtbuild.probe import asking, tensors
from trtbuild.probe.rules import ANSWERS, LOADS
from trtbuild.probe.target import RepositoryModel
from trtbuild.progress import SILENT, Progress


def compare_running(
    repo: Path, models: Sequence[str], url: str, protocol: Protocol, progress: Progress = SILENT
) -> tuple[Finding, ...]:
    """Compare ``models`` of ``repo`` with those of the server at ``url``.

    A model without reference answers is sent one request.

    Raises:
        ServerError: Nothing answers at ``url``.
    """
    found: list[Finding] = []
    targets = {name: RepositoryModel(name, repo) for name in models}
    with LLMClient(url, protocol, lambda name: targets[name].served) as client:
        served = client.models()
        for target in targets.values():
            progress.step(f"asking {target.name}")
            if target.name in served:
                found += _compare(client, target)
                continue
            known = ", ".join(served) or "no model"
            found.append(
                target.finding(
                    LOADS,
                    f"the server at {url} does not serve {target.name!r}: it has {known}",
                    fix="serve this repository, or name another server",
                )
            )
    return tuple(found)


def _compare(client: LLMClient, target: RepositoryModel) -> Iterator[Finding]:
    try:
        yield from tensors.compare(target, client.describe(target.name))
    except NoAnswerError:
        raise
    except ServerError as error:
        yield target.finding(ANSWERS, error.what, server_message=error.where, fix=error.fix)
        return
    yield from asking.try_task(client, target)
