"""A checkpoint before anything is downloaded or converted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from trtbuild.files.safetensors import TensorInfo
from trtbuild.modelspec import SourceRef
from trtbuild.progress import Progress


@dataclass(frozen=True, slots=True)
class CheckpointFile:
    """One file that a server needs.

    ``name`` is relative to the checkpoint, with forward slashes. ``path`` is its place on
    this machine, None until it is downloaded or converted. ``sha256`` is the digest that
    the source declares (the hub does for large files), empty when unknown.
    """

    name: str
    size: int
    path: Path | None = None
    sha256: str = ""


Reader = Callable[[str], bytes | None]
Materializer = Callable[[Progress], tuple[CheckpointFile, ...]]


@dataclass(frozen=True)
class Checkpoint:
    """An opened source: its identity, files, tensor headers and configuration.

    Attributes:
        ref: Its origin, without any local path.
        default_name: A valid model name made from the source.
        files: The files that a server needs, sorted by name; see :func:`materialize`.
        tensors: Every stored tensor by name; empty for pickles, which cannot be read without
            executing them, and for ONNX files, which are not opened.
        config: ``config.json``.
        pickle: True when the weights are pickles, accepted by ``allow_pickle``.
        onnx: True when there are neither safetensors nor accepted pickles, but an ONNX export.
    """

    ref: SourceRef
    default_name: str
    files: tuple[CheckpointFile, ...]
    tensors: Mapping[str, TensorInfo]
    config: Mapping[str, Any]
    reader: Reader = field(repr=False, compare=False)
    materializer: Materializer = field(repr=False, compare=False)
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    pickle: bool = False
    onnx: bool = False

    @property
    def weights_format(self) -> Literal["safetensors", "pickle", "onnx"]:
        """The format of the weights."""
        return "onnx" if self.onnx else "pickle" if self.pickle else "safetensors"

    def read_bytes(self, name: str) -> bytes | None:
        """Return a small file's content, None if the checkpoint does not have it.

        Raises:
            UnsupportedError: The file is too large for metadata (50 MB).
        """
        return self.reader(name)

    def has(self, name: str) -> bool:
        """Whether ``name`` is among the files."""
        return any(file.name == name for file in self.files)
