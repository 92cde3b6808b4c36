"""Push a repository."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from trtbuild.check.formats import FORMATS
from trtbuild.errors import BuildError
from trtbuild.pipeline.serve import require_valid
from trtbuild.progress import SILENT, Progress
from trtbuild.repository import require_repository
from trtbuild_artifacts.contents import read
from trtbuild_artifacts.reference import parse
from trtbuild_artifacts.seam import Pushed, PushOptions, open_store


def push(
    repository: Path,
    url: str,
    options: PushOptions = PushOptions(),
    *,
    edited: bool = False,
    progress: Progress = SILENT,
) -> Pushed:
    """Validate a repository, then store it under a tag, ``latest`` if the URL has none.

    Args:
        repository: The model repository.
        url: Where to; a digest cannot be pushed to.
        options: What only some stores know.
        edited: Whether files may differ from the lock.
        progress: Told while files are read and sent.

    Raises:
        UsageError: An unusable URL or repository.
        RepositoryError: Triton would not load it; files differ from the lock.
        BuildError: The store cannot be reached, or refuses.
    """
    reference = parse(url).require_tag()
    store = open_store(reference)
    report = require_valid(require_repository(repository), progress=progress)
    options = replace(options, report=FORMATS["json"](report))
    contents = read(repository, edited=edited, progress=progress)
    try:
        return store.push(contents, reference, options, progress)
    except OSError as error:
        raise BuildError(
            f"a file of the repository cannot be read: {error.strerror or error}",
            where=str(error.filename or repository),
            fix="push when nothing writes into the repository",
        ) from None


def tag(url: str, alias: str) -> str:
    """Make ``alias`` mean what a URL means; return the version, which cannot move.

    Raises:
        UsageError: There is nothing at that URL, or the alias is impossible.
        BuildError: The store cannot be reached, or refuses.
    """
    reference = parse(url)
    return open_store(reference).tag(reference, reference.tagged(alias).tag)
