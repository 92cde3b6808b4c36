"""The origin of a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SourceKind = Literal["hub", "local", "gguf", "sample"]


@dataclass(frozen=True, slots=True)
class SourceRef:
    """The origin of a checkpoint, without any local path.

    ``text`` is for people: a hub id, a directory's or a file's base name, or
    ``sample:smollm2``. ``commit`` is the full hub commit hash, empty for other kinds.
    """

    kind: SourceKind
    text: str
    revision: str = ""
    commit: str = ""
