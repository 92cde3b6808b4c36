"""A GGUF file as a checkpoint: described at once, converted into the cache when needed."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from trtbuild.checkpoint.assemble import Choices, assemble
from trtbuild.checkpoint.context import context_length
from trtbuild.checkpoint.fields import Fields
from trtbuild.checkpoint.model import Checkpoint, CheckpointFile, Materializer
from trtbuild.checkpoint.problems import dump_json
from trtbuild.checkpoint.source import Source, default_name
from trtbuild.errors import BuildError
from trtbuild.files import digest, staged_dir
from trtbuild.modelspec import SourceRef
from trtbuild.progress import Progress
from trtbuild.resources import cache_dir
from trtbuild_checkpoints.ggml import weights
from trtbuild_checkpoints.ggml.architectures import architecture_of
from trtbuild_checkpoints.ggml.config import generation_config, model_config
from trtbuild_checkpoints.ggml.file import GgufFile
from trtbuild_checkpoints.ggml.parts import open_model
from trtbuild_checkpoints.ggml.tokenizer import tokenizer_files

WEIGHTS = "model.safetensors"
_CONVERTER = "1"  # increased when the conversion of the same file gives other bytes


@dataclass(frozen=True)
class GgufStore:
    """The files of a conversion, readable before the conversion runs."""

    small: Mapping[str, bytes]
    weights_header: bytes
    weights_size: int
    sizes: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        sizes = {name: len(content) for name, content in self.small.items()}
        sizes[WEIGHTS] = self.weights_size
        object.__setattr__(self, "sizes", MappingProxyType(sizes))

    def read(self, name: str) -> bytes:
        return self.small[name]

    def read_range(self, name: str, begin: int, length: int) -> bytes:
        content = self.weights_header if name == WEIGHTS else self.small[name]
        return content[begin : begin + length]

    def path(self, name: str) -> Path | None:  # noqa: ARG002 - nothing is made yet
        return None

    def stand_ins(self, names: Iterable[str]) -> Sequence[tuple[str, str]]:  # noqa: ARG002
        return ()

    def sha256(self, name: str) -> str:  # noqa: ARG002 - known after the conversion only
        return ""


def open_gguf(
    source: Source,
    dtype: str,
    choices: Choices,
    progress: Progress,  # noqa: ARG001 - a description takes no time
) -> Checkpoint:
    """Open a GGUF file that a user named; raises as :func:`open_gguf_checkpoint`."""
    assert source.path is not None
    ref = SourceRef("gguf", source.text)
    return open_gguf_checkpoint(source.path, ref, default_name(source), dtype, choices)


def open_gguf_checkpoint(
    path: Path, ref: SourceRef, name: str, dtype: str, choices: Choices
) -> Checkpoint:
    """Describe the conversion of ``path`` into ``dtype`` (``float32`` when empty).

    Raises:
        UnsupportedError: Not GGUF, truncated, or of an architecture or tokenizer that we
            cannot convert exactly.
    """
    dtype = dtype or "float32"
    file = open_model(path)
    row = architecture_of(file)
    config = model_config(file, row, dtype)
    planned = weights.plan(file, row, config)
    small = {
        "config.json": dump_json(config),
        "generation_config.json": dump_json(generation_config(file)),
        **tokenizer_files(file, context_length(Fields(config))),
    }
    head = weights.header(planned, dtype)
    store = GgufStore(small, head, len(head) + weights.data_size(planned, dtype))

    conversion = Conversion(file, planned, dtype, store)
    return assemble(ref, name, store, choices, conversion.materializer)


@dataclass(frozen=True)
class Conversion:
    """A conversion that may be requested: its source and its output."""

    file: GgufFile
    planned: tuple[weights.PlannedTensor, ...]
    dtype: str
    store: GgufStore

    def materializer(self, files: tuple[CheckpointFile, ...]) -> Materializer:
        """Return a function that converts if necessary and returns the paths of ``files``."""

        def run(progress: Progress) -> tuple[CheckpointFile, ...]:
            folder = self._folder(progress)
            if not _complete(folder, self.store):
                try:
                    self._write(folder, progress)
                except OSError as error:
                    raise _disk_error(error, folder, self.store) from None
            return tuple(CheckpointFile(f.name, f.size, folder / f.name) for f in files)

        return run

    def _folder(self, progress: Progress) -> Path:
        """Return the directory for this content, dtype and converter."""
        try:
            content = ":".join(digest(path, progress) for path in self.file.paths)
        except OSError as error:
            raise BuildError(
                f"cannot read {self.file.name}: {error.strerror or error}", where=self.file.name
            ) from None
        key = hashlib.sha256(f"{content}:{self.dtype}:{_CONVERTER}".encode()).hexdigest()[:32]
        return cache_dir("checkpoints", key)

    def _write(self, folder: Path, progress: Progress) -> None:
        progress.step(f"converting {self.file.name} to {self.dtype}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        total = self.store.weights_size - len(self.store.weights_header)
        with staged_dir(folder) as staged:
            for name, content in self.store.small.items():
                (staged / name).write_bytes(content)
            with (staged / WEIGHTS).open("wb") as out:
                weights.write(self.planned, self.dtype, out, lambda d: progress.advance(d, total))


def _complete(folder: Path, store: GgufStore) -> bool:
    """Whether every file has its full size, and small files have the expected content."""
    for name, size in store.sizes.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            return False
        if name in store.small and path.read_bytes() != store.small[name]:
            return False
    return True


def _disk_error(error: OSError, folder: Path, store: GgufStore) -> BuildError:
    needed = sum(store.sizes.values()) / 2**30
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what = f"the disk is full; the converted checkpoint needs {needed:.1f} GiB"
    else:
        what = f"cannot write the converted checkpoint: {error.strerror or error}"
    return BuildError(
        what,
        where=str(folder.parent),
        fix="free some space, or set TRTBUILD_CACHE_DIR to a directory on a larger disk",
    )
