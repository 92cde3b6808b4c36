"""Checkpoints on the Hugging Face Hub: described from headers, downloaded when needed.

``huggingface_hub`` handles revisions, tokens and the shared cache. Headers are read by our own
range requests, so that describing a checkpoint of any size transfers kilobytes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from trtbuild.checkpoint.assemble import Choices, assemble
from trtbuild.checkpoint.hub_download import Download, WantedFile
from trtbuild.checkpoint.hub_errors import explained
from trtbuild.checkpoint.layout import is_wanted
from trtbuild.checkpoint.model import Checkpoint, CheckpointFile, Materializer
from trtbuild.checkpoint.problems import refuse_large
from trtbuild.checkpoint.source import Source, default_name
from trtbuild.checkpoint.store import list_folder
from trtbuild.errors import BuildError, UnsupportedError
from trtbuild.files import atomic_write, digest
from trtbuild.modelspec import SourceRef
from trtbuild.progress import Progress

_COMMIT = re.compile(r"^[0-9a-f]{40}$")
_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class HubStore:
    """One commit of a repository on the hub."""

    repo: str
    commit: str
    endpoint: str
    sizes: Mapping[str, int]
    digests: Mapping[str, str] = field(repr=False)

    def read(self, name: str) -> bytes:
        refuse_large(name, self.sizes[name])
        with explained(self.repo, self.commit):
            return self.download(name).read_bytes()

    def read_range(self, name: str, begin: int, length: int) -> bytes:
        cached = self.path(name)
        if cached is not None:
            with cached.open("rb") as file:
                file.seek(begin)
                return file.read(length)
        with explained(self.repo, self.commit):
            return self._fetch_range(name, begin, length)

    def path(self, name: str) -> Path | None:
        from huggingface_hub import constants, try_to_load_from_cache

        found = try_to_load_from_cache(
            self.repo, name, cache_dir=constants.HF_HUB_CACHE, revision=self.commit
        )
        return Path(found) if isinstance(found, str) else None

    def stand_ins(self, names: Iterable[str]) -> Sequence[tuple[str, str]]:  # noqa: ARG002
        return ()  # the hub resolves its pointers itself

    def sha256(self, name: str) -> str:
        return self.digests.get(name, "")

    def url(self, name: str) -> str:
        """Return the URL of the file on the hub."""
        from huggingface_hub import hf_hub_url

        return hf_hub_url(self.repo, name, revision=self.commit, endpoint=self.endpoint)

    def download(self, name: str) -> Path:
        """Return the file in the hub's cache, downloaded if missing."""
        from huggingface_hub import hf_hub_download

        found = hf_hub_download(self.repo, name, revision=self.commit, endpoint=self.endpoint)
        return Path(str(found))

    def _fetch_range(self, name: str, begin: int, length: int) -> bytes:
        """Fetch exactly these bytes, even if the server sends the whole file."""
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        headers = build_hf_headers(library_name="trtbuild")
        headers |= {"Range": f"bytes={begin}-{begin + length - 1}", "Accept-Encoding": "identity"}
        received = bytearray()
        with get_session().stream(
            "GET", self.url(name), headers=headers, timeout=_TIMEOUT_S, follow_redirects=True
        ) as response:
            hf_raise_for_status(response)
            skip = 0 if response.status_code == 206 else begin
            for chunk in response.iter_bytes(64 * 1024):
                received += chunk
                if len(received) >= skip + length:
                    break
        return bytes(received[skip : skip + length])


def open_hub(source: Source, choices: Choices, progress: Progress) -> Checkpoint:
    """Open ``source`` on the hub, or in the hub's cache if offline.

    Raises:
        UsageError: No such repository or revision.
        UnsupportedError: The checkpoint cannot be deployed.
        BuildError: Gated, a refused token, no network and nothing in the cache.
    """
    _quiet()
    if _offline():
        return _open_cached(source, choices, "HF_HUB_OFFLINE is set")
    if _COMMIT.match(source.revision):
        with _ignored():
            return _open_cached(source, choices, "")
    progress.step(f"asking the hub for {source.text}")
    try:
        store = _resolve(source)
    except BuildError as error:
        if not getattr(error, "unreachable", False) or _snapshot(source) is None:
            raise
        progress.step(f"the hub cannot be reached; using the cached {source.text}")
        return _open_cached(source, choices, "the hub cannot be reached")
    ref = SourceRef("hub", source.text, source.revision, store.commit)

    def materializer(files: tuple[CheckpointFile, ...]) -> Materializer:
        return lambda report: _download_all(store, files, report)

    opened = assemble(ref, default_name(source), store, choices, materializer)
    _remember(source, store.commit)
    return opened


def _remember(source: Source, commit: str) -> None:
    """Record in the hub's cache which commit a branch is, as its own library does, so that the
    name also works offline. Files are always requested by commit."""
    if source.revision == commit or not _COMMIT.match(commit):
        return
    ref = cache_folder(source.text) / "refs" / (source.revision or "main")
    with suppress(OSError):
        ref.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(ref, commit.encode())


def cache_folder(repo: str) -> Path:
    """Return the directory of ``repo`` in the hub's cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _quiet() -> None:
    """Silence the hub's library on stderr; we report what matters."""
    from huggingface_hub.utils import disable_progress_bars, logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    disable_progress_bars()


def _resolve(source: Source) -> HubStore:
    """Return the commit of the revision, and its files with sizes and declared digests."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=_endpoint(), library_name="trtbuild")
    with explained(source.text, source.revision):
        info = api.model_info(
            source.text,
            revision=source.revision or None,
            files_metadata=True,
            timeout=_TIMEOUT_S,
        )
    sizes: dict[str, int] = {}
    digests: dict[str, str] = {}
    for sibling in info.siblings or ():
        if is_wanted(sibling.rfilename) and sibling.size is not None:
            sizes[sibling.rfilename] = sibling.size
            if sibling.lfs is not None:
                digests[sibling.rfilename] = sibling.lfs.sha256
    return HubStore(source.text, info.sha or "", _endpoint(), sizes, digests)


def _snapshot(source: Source) -> tuple[str, Path] | None:
    """Return commit and directory of ``source`` in the hub's cache; None if it is not there."""
    root = cache_folder(source.text)
    commit = source.revision
    if not _COMMIT.match(commit):
        ref = root / "refs" / (source.revision or "main")
        if not ref.is_file():
            return None
        commit = ref.read_text(encoding="utf-8").strip()
    folder = root / "snapshots" / commit
    return (commit, folder) if _COMMIT.match(commit) and folder.is_dir() else None


def _open_cached(source: Source, choices: Choices, why: str) -> Checkpoint:
    found = _snapshot(source)
    named = f"{source.text}@{source.revision}" if source.revision else source.text
    fix = f"connect and unset HF_HUB_OFFLINE once, to download {named}"
    if found is None:
        raise BuildError(
            f"{named} is not in the Hugging Face cache, and {why}", where=named, fix=fix
        )
    commit, folder = found
    ref = SourceRef("hub", source.text, source.revision, commit)
    try:
        return assemble(
            ref, default_name(source), list_folder(folder), choices, lambda files: lambda _: files
        )
    except UnsupportedError as error:
        raise BuildError(
            f"the Hugging Face cache holds only a part of {named}, and {why}",
            where=named,
            fix=fix,
            details=error.details or (error.what,),
        ) from None


@contextmanager
def _ignored() -> Iterator[None]:
    """Ignore an incomplete cache while the hub can be reached."""
    try:
        yield
    except BuildError:
        return


def _download_all(
    store: HubStore, files: tuple[CheckpointFile, ...], progress: Progress
) -> tuple[CheckpointFile, ...]:
    """Download small files with the hub's library, large ones with ours; then check all."""
    total = sum(file.size for file in files)
    progress.step(f"downloading {store.repo}")
    large = [f for f in files if f.sha256 and store.path(f.name) is None]
    done = 0
    for file in files:
        if file not in large:
            with explained(store.repo, store.commit):
                store.download(file.name)
            done += file.size
            progress.advance(done, total)
    wanted = [WantedFile(f.name, store.url(f.name), f.size, f.sha256) for f in large]
    Download(store.repo, store.commit, cache_folder(store.repo)).run(wanted, progress, done, total)
    placed = tuple(CheckpointFile(f.name, f.size, store.path(f.name), f.sha256) for f in files)
    for item in placed:
        _check(item, progress)
    return placed


def _check(file: CheckpointFile, progress: Progress) -> None:
    """Check size and the digest that the hub declares; a wrong copy is removed, so that it is
    downloaded again."""
    if file.path is None:
        raise BuildError(f"{file.name} vanished from the cache", where=file.name)
    right = file.path.stat().st_size == file.size
    if right and file.sha256:
        right = digest(file.path, progress) == file.sha256
    if right:
        return
    blob = file.path.resolve()
    file.path.unlink(missing_ok=True)
    blob.unlink(missing_ok=True)
    raise BuildError(
        f"{file.name} was damaged on its way or in the cache (wrong digest or size)",
        where=file.name,
        fix="run the same command again: the damaged copy was removed",
    )
