"""A checkpoint as seen before anything is downloaded or converted."""

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

    ``name`` is relative to the checkpoint, with forward slashes. ``path`` is where it lies on
    this machine, None while it has not been downloaded or made. ``sha256`` is the digest that
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
    """An opened source: its identity, its files, its tensors' headers, its configuration.

    Attributes:
        ref: Where it came from, without any path of this machine.
        default_name: A valid model name made from the source.
        files: The files that a server needs, sorted by name; see :func:`materialize`.
        tensors: Every stored tensor by name; empty for pickles, whose content is unknown
            without executing them, and for ONNX files, which are not opened.
        config: ``config.json``.
        pickle: True when the weights are pickles, accepted by ``allow_pickle``.
        onnx: True when there are neither safetensors nor accepted pickles, but an ONNX export.
        tokenizer_problem: Why there is no usable tokenizer, empty when there is one.
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
    tokenizer_problem: str = ""

    @property
    def weights_format(self) -> Literal["safetensors", "pickle", "onnx"]:
        """The format of the weights."""
        return "onnx" if self.onnx else "pickle" if self.pickle else "safetensors"

    def read_bytes(self, name: str) -> bytes | None:
        """A small file's content, None when the checkpoint has no such file.

        Raises:
            UnsupportedError: The file is larger than any metadata file may be (50 MB).
        """
        return self.reader(name)

    def has(self, name: str) -> bool:
        """Whether ``name`` is among the files."""
        return any(file.name == name for file in self.files)
