"""Artifacts: files that a builder has made once, kept under a key, and placed in its models.

A compiled engine is one; an ONNX export or a quantized checkpoint would be. The builder describes
what they depend on and how they are made, and the core keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from trtbuild.checkpoint import CheckpointFile
from trtbuild.hardware import DetectedGpu
from trtbuild.progress import SILENT, Progress

RECORD = ".trtbuild-artifact.json"
"""Where the core notes the key and the sizes of an artifact's files."""


@dataclass(frozen=True, slots=True)
class MadeArtifact:
    """An artifact that is there: its directory, and which of its files belong into a model."""

    folder: Path
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Workplace:
    """What making an artifact is given.

    Attributes:
        key: The digest of everything that the artifact depends on.
        home: Where it will be kept, by key; it appears there whole or not at all.
        out: The directory to write into, empty and on the same disk as ``home``.
        source: The checkpoint, as people write it.
        files: The checkpoint's files, with paths on this machine unless it is a dry run.
        gpu: The first GPU of this machine, None without one; looked for if the artifact needs it.
        force: The user wants it made although memory looks too small.
        python: The Python of the environment that the artifact asks for.
    """

    key: str
    home: Path
    out: Path
    source: str
    files: tuple[CheckpointFile, ...]
    gpu: DetectedGpu | None = None
    force: bool = False
    progress: Progress = SILENT
    python: Path = field(default_factory=Path)

    @property
    def log(self) -> Path:
        """A log beside ``home``: it stays when making the artifact fails."""
        return self.home.with_name(f"{self.home.name}.log")


def _every(folder: Path) -> Iterable[str]:
    return sorted(p.name for p in folder.iterdir() if p.is_file() and p.name != RECORD)


@dataclass(frozen=True, slots=True)
class Artifact:
    """Files to make, or that were made.

    Attributes:
        name: What :class:`~trtbuild.plan.WeightsDir` names to place it.
        there: Where it is, when the user gave it; nothing is made then.
        make: Writes it into ``Workplace.out``; raises BuildError. None: it is left for later, and
            the model is written without it.
        require: Raises BuildError when it cannot be made here, before anything is fetched.
        depends: What it depends on besides the checkpoint and the image, as JSON can hold it.
        on_gpu: It is made on a GPU, and for that kind of GPU only.
        environment: A pinned environment (``export``) that making it runs in. It is installed
            before, and the artifact depends on its pins.
        optional: It is left out where its environment is not installed.
        commands: The command lines that making it would run, for a dry run.
        files: Which files of its directory belong into a model; default: all at its top. May
            raise RepositoryError when it is not complete.
    """

    name: str
    there: MadeArtifact | None = None
    make: Callable[[Workplace], None] | None = None
    require: Callable[[DetectedGpu | None], object] = lambda _: None
    depends: Mapping[str, Any] = field(default_factory=dict)
    on_gpu: bool = False
    environment: Literal["", "export"] = ""
    optional: bool = False
    commands: Callable[[Workplace], Sequence[Sequence[str]]] = lambda _: ()
    files: Callable[[Path], Iterable[str]] = _every

    @property
    def state(self) -> Literal["given", "wanted", "later"]:
        """Whether it is there, will be made, or is left for later."""
        return "given" if self.there else "wanted" if self.make else "later"
