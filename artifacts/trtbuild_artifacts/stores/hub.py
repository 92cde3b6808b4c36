"""The Hugging Face hub: a repository there holds the files; a push is a commit, a tag a tag."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from trtbuild.checkpoint.hub_errors import explained
from trtbuild.errors import UsageError
from trtbuild.progress import SILENT, Progress, counted
from trtbuild_artifacts.contents import Contents
from trtbuild_artifacts.listing import LISTING_NAME, Entry
from trtbuild_artifacts.reference import DEFAULT_TAG, Reference
from trtbuild_artifacts.seam import Pushed, PushOptions, Remote, Sink, refuse

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

_BRANCH = "main"
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
            progress.step("asking what the hub has")
            api.create_repo(repo, private=True, exist_ok=True)
            there = _files(api, repo)
            changed = {
                path: entry
                for path, entry in listing.files.items()
                if not _same(there.get(path), entry, contents.source(path))
            }
            if changed:
                progress.step(f"uploading {counted(len(changed), 'file')}")
            commit = _commit(api, repo, contents, list(changed), there)
            _set_tag(api, repo, reference.tag, commit)
        sent = sum(entry.size for entry in changed.values())
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
            self.version = str(_api().repo_info(repo, revision=revision).sha)

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


def _files(api: HfApi, repo: str) -> dict[str, RepoFile]:
    from huggingface_hub.hf_api import RepoFile

    tree = api.list_repo_tree(repo, recursive=True, revision=_BRANCH)
    return {one.path: one for one in tree if isinstance(one, RepoFile)}


def _same(there: RepoFile | None, entry: Entry, file: Path) -> bool:
    """Whether the hub has these bytes: large files are known by SHA-256, others as Git does."""
    if there is None or there.size != entry.size:
        return False
    if there.lfs is not None:
        return there.lfs.sha256 == entry.sha256
    content = file.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    return there.blob_id == blob.hexdigest()


def _commit(
    api: HfApi, repo: str, contents: Contents, changed: list[str], there: dict[str, RepoFile]
) -> str:
    """One commit with what changed and without what is gone; return it."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    listing = contents.listing
    kept = {*listing.files, LISTING_NAME, *_THEIRS}
    added = [CommitOperationAdd(path, str(contents.source(path))) for path in changed]
    gone = [CommitOperationDelete(path) for path in there if path not in kept]
    made = CommitOperationAdd(LISTING_NAME, listing.content)
    done = api.create_commit(
        repo,
        [*added, *gone, made],
        commit_message=f"Push {', '.join(sorted(listing.models))} ({listing.digest[:19]})",
        revision=_BRANCH,
    )
    return str(done.oid)


def _set_tag(api: HfApi, repo: str, tag: str, commit: str) -> None:
    """Set or move a tag; ``latest`` is the branch."""
    if tag == DEFAULT_TAG:
        return
    if any(one.name == tag for one in api.list_repo_refs(repo).tags):
        api.delete_tag(repo, tag=tag)
    api.create_tag(repo, tag=tag, revision=commit)
