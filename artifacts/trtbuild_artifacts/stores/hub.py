"""The Hugging Face hub: a repository there holds the files; a push is a commit, a tag a tag."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from trtbuild.checkpoint.hub_errors import explained
from trtbuild.errors import BuildError, UsageError
from trtbuild.progress import SILENT, Progress, counted
from trtbuild_artifacts.contents import Contents
from trtbuild_artifacts.listing import LISTING_NAME, Entry
from trtbuild_artifacts.reference import DEFAULT_TAG, Reference
from trtbuild_artifacts.seam import Pushed, PushOptions, Remote, Sink, refuse

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

_BRANCH = "main"
_ATTEMPTS = 3
_CONFLICT = (409, 412)
"""The hub's statuses for a commit whose parent is no longer the newest."""
_TAG_GAP = 1.0  # seconds
_THEIRS = (".gitattributes", "README.md")
"""Files that the hub makes or shows; a push leaves them alone."""


class HubStore:
    """Repositories of the hub; the account is that of ``hf auth login`` or ``HF_TOKEN``."""

    def push(
        self,
        contents: Contents,
        reference: Reference,
        options: PushOptions = PushOptions(),
        progress: Progress = SILENT,
    ) -> Pushed:
        """Commit what differs, then set the tag. A new repository is private."""
        refuse(options, ["layout", "benchmarks"], "the Hugging Face hub")
        repo, listing = _name(reference), contents.listing
        with explained(repo, reference.tag):
            api = _api()
            api.create_repo(repo, private=True, exist_ok=True)
            commit, sent = _committed(api, repo, contents, progress)
            _set_tag(api, repo, reference.tag, commit)
        url = str(reference.pinned(commit))
        return Pushed(commit, url, sent + len(listing.content), listing.size - sent)

    def resolve(self, reference: Reference) -> Remote:
        """Look the tag up; the commit it has now decides everything else."""
        return HubRemote(_name(reference), reference)

    def tag(self, reference: Reference, alias: str) -> str:
        """Set another tag to the same commit."""
        commit = HubRemote(_name(reference), reference).version
        repo = _name(reference)
        with explained(repo, alias):
            _set_tag(_api(), repo, alias, commit)
        return commit


class HubRemote:
    """A commit of a repository of the hub."""

    def __init__(self, repo: str, reference: Reference) -> None:
        self._repo = repo
        revision = _BRANCH if reference.tag == DEFAULT_TAG else reference.tag
        with explained(repo, revision):
            self.version = _head(_api(), repo, revision)

    def listing(self) -> bytes:
        """The bytes of the listing. UsageError if the repository was not pushed by trtbuild."""
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        with TemporaryDirectory() as folder, explained(self._repo, self.version):
            try:
                return self._download(LISTING_NAME, Path(folder)).read_bytes()
            except EntryNotFoundError as error:
                if isinstance(error, LocalEntryNotFoundError):
                    raise  # the hub could not be asked
                raise UsageError(
                    f"{self._repo} was not made by trtbuild push",
                    where=f"{self._repo}@{self.version}",
                    fix="name one that was; a checkpoint is converted: trtbuild convert "
                    f"{self._repo}",
                ) from None

    def fetch(self, sink: Sink) -> None:
        """Download each missing file; the client resumes by itself."""
        for path in sorted(sink.missing):
            with explained(self._repo, self.version):
                file = self._download(path, sink.folder)
            sink.place(path, file)

    def _download(self, path: str, folder: Path) -> Path:
        return Path(
            _api().hf_hub_download(self._repo, path, revision=self.version, local_dir=folder)
        )


def _api() -> HfApi:
    """The client of the endpoint in use; quiet, because the caller shows its own progress."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"))


def _name(reference: Reference) -> str:
    reference.without_digest("name a tag or a commit: hf://ORG/NAME@COMMIT")
    if reference.place.count("/") != 1:
        raise UsageError(
            f"{reference.place!r} is not a repository of the hub", fix="write hf://ORG/NAME@TAG"
        )
    return reference.place


def _head(api: HfApi, repo: str, revision: str) -> str:
    """The commit of a revision. A tag that is moved does not exist for a moment."""
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        return str(api.repo_info(repo, revision=revision).sha)
    except RevisionNotFoundError:
        time.sleep(_TAG_GAP)
        return str(api.repo_info(repo, revision=revision).sha)


def _committed(api: HfApi, repo: str, contents: Contents, progress: Progress) -> tuple[str, int]:
    """Commit what differs from the newest commit, which nobody may follow in the meantime: files
    of another push would be beside our listing. Return the commit, and the bytes of the files.

    Raises:
        BuildError: Others pushed each time.
    """
    from huggingface_hub.errors import HfHubHTTPError

    for _ in range(_ATTEMPTS):
        progress.step("asking what the hub has")
        parent = _head(api, repo, _BRANCH)
        there = _files(api, repo, parent)
        changed = {
            path: entry
            for path, entry in contents.listing.files.items()
            if not _same(there.get(path), entry, contents.source(path))
        }
        if changed:
            progress.step(f"uploading {counted(len(changed), 'file')}")
        try:
            commit = _commit(api, repo, contents, list(changed), there, parent=parent)
        except HfHubHTTPError as error:
            if error.response.status_code not in _CONFLICT:
                raise
            continue
        return commit, sum(entry.size for entry in changed.values())
    raise BuildError(
        f"others push to {repo} at the same time, {_ATTEMPTS} times in a row",
        where=repo,
        fix="run the command again when they are done; large files are not sent again",
    )


def _files(api: HfApi, repo: str, commit: str) -> dict[str, RepoFile]:
    from huggingface_hub.hf_api import RepoFile

    tree = api.list_repo_tree(repo, recursive=True, revision=commit)
    return {one.path: one for one in tree if isinstance(one, RepoFile)}


def _same(there: RepoFile | None, entry: Entry, file: Path) -> bool:
    """Whether the hub has these bytes: large files are known by SHA-256, others as Git does."""
    if there is None or there.size != entry.size:
        return False
    if there.lfs is not None:
        return there.lfs.sha256 == entry.sha256
    return bool(there.blob_id == _blob_id(file.read_bytes()))


def _blob_id(content: bytes) -> str:
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    return blob.hexdigest()


def _commit(
    api: HfApi,
    repo: str,
    contents: Contents,
    changed: list[str],
    there: dict[str, RepoFile],
    *,
    parent: str,
) -> str:
    """One commit after ``parent`` with what changed and without what is gone; return it, or
    ``parent`` if that has everything."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    listing = contents.listing
    kept = {*listing.files, LISTING_NAME, *_THEIRS}
    added = [CommitOperationAdd(path, str(contents.source(path))) for path in changed]
    gone = [CommitOperationDelete(path) for path in there if path not in kept]
    known = there.get(LISTING_NAME)
    if not (added or gone) and known and known.blob_id == _blob_id(listing.content):
        return parent
    made = CommitOperationAdd(LISTING_NAME, listing.content)
    done = api.create_commit(
        repo,
        [*added, *gone, made],
        commit_message=f"Push {', '.join(sorted(listing.models))} ({listing.digest[:19]})",
        revision=_BRANCH,
        parent_commit=parent,
    )
    return str(done.oid)


def _set_tag(api: HfApi, repo: str, tag: str, commit: str) -> None:
    """Set or move a tag; ``latest`` is the branch.

    The hub cannot move a tag: it is deleted and created again, or restored if that fails.
    """
    if tag == DEFAULT_TAG:
        return
    tags = {one.name: one.target_commit for one in api.list_repo_refs(repo).tags}
    before = tags.get(tag)
    if before == commit:
        return
    if before:
        api.delete_tag(repo, tag=tag)
    try:
        api.create_tag(repo, tag=tag, revision=commit)
    except BaseException:
        if before:
            with suppress(Exception):  # the first error is the one to show
                api.create_tag(repo, tag=tag, revision=before)
        raise
