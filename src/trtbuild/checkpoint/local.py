"""A directory on this machine."""

from __future__ import annotations

from trtbuild.checkpoint.assemble import Choices, assemble
from trtbuild.checkpoint.model import Checkpoint
from trtbuild.checkpoint.source import Source, default_name
from trtbuild.checkpoint.store import list_folder
from trtbuild.modelspec import SourceRef


def open_local(source: Source, choices: Choices) -> Checkpoint:
    """Open the directory ``source.path``."""
    assert source.path is not None
    store = list_folder(source.path.resolve())
    ref = SourceRef("local", source.text)
    return assemble(ref, default_name(source), store, choices, lambda files: lambda _: files)
