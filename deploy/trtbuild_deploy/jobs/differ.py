"""What would change in an output directory, and what was edited there by hand."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trtbuild.errors import UsageError
from trtbuild_deploy.jobs.manifest import MANIFEST_NAME, Manifest, edited, read_manifest
from trtbuild_deploy.jobs.render import Deployment, render

State = Literal["edited", "changed", "missing", "new", "removed"]


@dataclass(frozen=True, slots=True)
class Difference:
    """A file that is not as it would be written.

    Attributes:
        path: In the directory.
        state: ``edited`` by hand since it was written; ``changed``: the repository or deploy.yaml
            was; ``missing`` on the disk; ``new`` or ``removed`` in what would be written.
        diff: From the file on the disk to the one that would be written, as unified diff.
    """

    path: str
    state: State
    diff: str


def differences(repository: Path, out: Path, settings_file: Path | None) -> tuple[Difference, ...]:
    """Compare a directory with what would be written into it now.

    Raises:
        UsageError: ``out`` was not written by ``trtbuild deploy``.
        TrtbuildError: As :func:`trtbuild_deploy.jobs.render.render`.
    """
    manifest = read_manifest(out)
    if not manifest.target:
        raise UsageError(
            f"{str(out)!r} was not written by trtbuild deploy: it has no {MANIFEST_NAME}",
            fix="name the directory that was given with -o",
        )
    deployment = render(manifest.target, repository, settings_file)
    return tuple(_differences(deployment, manifest, out))


def _differences(deployment: Deployment, manifest: Manifest, out: Path) -> Iterator[Difference]:
    by_hand = set(edited(out, manifest))
    wanted = {file.path: file.content for file in deployment.files}
    for path in sorted({*wanted, *manifest.files}):
        place = out / path
        found = place.read_bytes() if place.is_file() else None
        new = wanted.get(path)
        if found == new:
            continue
        yield Difference(path, _state(path, found, new, by_hand, manifest), _diff(path, found, new))


def _state(
    path: str, found: bytes | None, new: bytes | None, by_hand: set[str], manifest: Manifest
) -> State:
    if path in by_hand:
        return "edited"
    if new is None:
        return "removed"
    if found is None:
        return "missing" if path in manifest.files else "new"
    return "changed"


def _diff(path: str, found: bytes | None, new: bytes | None) -> str:
    old, wanted = ((side or b"").decode("utf-8", "replace") for side in (found, new))
    lines = difflib.unified_diff(
        old.splitlines(keepends=True),
        wanted.splitlines(keepends=True),
        f"{path} (on disk)",
        f"{path} (to write)",
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
