"""Errors of the hub, each with its fix. No message contains a token."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from trtbuild.errors import BuildError, TrtbuildError, UsageError


class HubUnreachableError(BuildError):
    """The hub cannot be reached; its cache may still have the checkpoint."""

    unreachable = True


@contextmanager
def explained(repo: str, revision: str) -> Iterator[None]:
    """Convert errors of ``huggingface_hub`` and its transport into ours."""
    try:
        yield
    except TrtbuildError:
        raise
    except Exception as error:
        explanation = _explain(error, repo, revision)
        if explanation is None:
            raise
        raise explanation from None


def _explain(error: Exception, repo: str, revision: str) -> TrtbuildError | None:
    from huggingface_hub import errors as hub

    if isinstance(error, hub.GatedRepoError):
        return BuildError(
            f"{repo} is gated: its authors ask you to accept their terms first",
            where=repo,
            fix=f"accept them at https://huggingface.co/{repo}, then log in with "
            "'hf auth login' or set HF_TOKEN",
        )
    if isinstance(error, hub.RevisionNotFoundError):
        return UsageError(
            f"{repo} has no revision {revision!r}",
            where=f"{repo}@{revision}",
            fix=f"see its branches and tags at https://huggingface.co/{repo}/tree/main",
        )
    if isinstance(error, hub.RepositoryNotFoundError):
        return UsageError(
            f"the hub knows no {repo}, or it is private",
            where=repo,
            fix="check the spelling; for a private one log in with 'hf auth login' or set HF_TOKEN",
        )
    if isinstance(error, hub.HFValidationError):
        return UsageError(f"{repo} cannot be a hub id", where=repo, fix="give org/name")
    return _by_cause(error, repo)


def _by_cause(error: Exception, repo: str) -> TrtbuildError | None:
    """Convert a response with an error status, no response, or a full disk."""
    for cause in _chain(error):
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if isinstance(status, int) and status >= 400:
            return _by_status(status, repo)
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return BuildError(
                f"the disk is full while downloading {repo}",
                where=repo,
                fix="free some space, or set HF_HOME to a directory on a larger disk; what was "
                "downloaded is kept",
            )
    if any(_is_network(cause) for cause in _chain(error)):
        return HubUnreachableError(
            f"the hub cannot be reached for {repo} ({type(_chain(error)[-1]).__name__})",
            where=repo,
            fix="check the network, a proxy (HTTPS_PROXY) and HF_ENDPOINT; or give a directory, a "
            ".gguf file or sample:smollm2, which need no network",
        )
    return None


def _by_status(status: int, repo: str) -> TrtbuildError:
    if status in (401, 403):
        return BuildError(
            f"the hub refuses access to {repo} (HTTP {status})",
            where=repo,
            fix="log in again with 'hf auth login', or give HF_TOKEN a valid token that may read "
            "this repository",
        )
    if status == 429:
        return BuildError(
            f"the hub asks to wait: too many requests (HTTP 429) for {repo}",
            where=repo,
            fix="try again in a few minutes; a logged-in user may ask more often",
        )
    if status >= 500:
        return HubUnreachableError(
            f"the hub fails with HTTP {status} for {repo}",
            where=repo,
            fix="try again later; see https://status.huggingface.co",
        )
    return BuildError(f"the hub answers HTTP {status} for {repo}", where=repo, fix="try again")


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    return chain


def _is_network(error: BaseException) -> bool:
    """Whether it is a transport error of httpx (any major version) or a wrapper of the hub."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(
        names & {"TransportError", "OfflineModeIsEnabled", "LocalEntryNotFoundError"}
    ) or isinstance(error, ConnectionError | TimeoutError)
