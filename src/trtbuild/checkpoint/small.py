"""The small files of a checkpoint, available without its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from trtbuild.checkpoint.model import Checkpoint

_LARGE = (".safetensors", ".bin", ".gguf", ".onnx", ".onnx_data", ".data")
_NOT_TOKENIZER = (*_LARGE, ".py", ".index.json", "preprocessor_config.json")


def tokenizer_files(checkpoint: Checkpoint) -> dict[str, bytes]:
    """Return what a tokenizer may read, including the model's configuration."""
    names = [file.name for file in checkpoint.files if not file.name.endswith(_NOT_TOKENIZER)]
    read = ((name, checkpoint.read_bytes(name)) for name in names)
    return {name: content for name, content in read if content is not None}


def with_files(checkpoint: Checkpoint, changed: Mapping[str, bytes | None]) -> Checkpoint:
    """Return ``checkpoint`` with other contents of small files; None leaves a file out."""
    if not changed:
        return checkpoint
    files = tuple(file for file in checkpoint.files if changed.get(file.name, b"") is not None)

    def read(name: str) -> bytes | None:
        return changed[name] if name in changed else checkpoint.reader(name)

    return replace(checkpoint, files=files, reader=read)
