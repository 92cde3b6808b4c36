"""One engine to compile: what goes in, with which tools, and where it comes out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trtbuild.plan import EngineBuild


@dataclass(frozen=True, slots=True)
class Compilation:
    """An engine that is to be compiled.

    Attributes:
        model: The LLM's name.
        key: Digest of all that the engine depends on.
        source: The checkpoint, as people write it.
        image: The container image with the tools.
        build: How it is compiled.
        files: The Hugging Face checkpoint on this machine, name to path, for a conversion in
            the image; empty when ours converts.
        out: Where the engine goes; appears whole or not at all.
        sm: Compute capability of the GPU that compiles it, 90 for 9.0.
        gpu: Its name.
    """

    model: str
    key: str
    source: str
    image: str
    build: EngineBuild
    files: tuple[tuple[str, Path], ...]
    out: Path
    sm: int
    gpu: str

    @property
    def log_path(self) -> Path:
        """The log, beside the engine: it stays when the build fails."""
        return self.out.with_name(f"{self.out.name}.log")
