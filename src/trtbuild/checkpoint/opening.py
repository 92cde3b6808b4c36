"""Open any kind of source."""

from __future__ import annotations

from collections.abc import Callable

from trtbuild.checkpoint.assemble import Choices
from trtbuild.checkpoint.model import Checkpoint, CheckpointFile
from trtbuild.checkpoint.source import Source, parse_source
from trtbuild.errors import UsageError
from trtbuild.plugins import points
from trtbuild.progress import SILENT, Progress

ENTRY_POINT_GROUP = "trtbuild.checkpoints.v1"
"""Sources that are converted before they are checkpoints, by kind: each is an :data:`Opener`."""
Opener = Callable[[Source, str, Choices, Progress], Checkpoint]
"""Opens a source, given the number format to convert into (empty: the usual one), what its user
allowed and whom to tell; converts only when the files are asked for."""
_DTYPES = ("", "float32", "bfloat16")


def open_checkpoint(
    source: str,
    *,
    dtype: str = "",
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    progress: Progress = SILENT,
) -> Checkpoint:
    """Open ``source`` without fetching or converting weights.

    Args:
        source: ``org/name[@revision]``, a directory, a ``.gguf`` file or ``sample:smollm2``.
        dtype: ``float32`` (default) or ``bfloat16``, for GGUF sources and samples only.
        allow_pickle: Accept a checkpoint whose only weights are ``.bin`` pickles.
        trust_remote_code: Include the checkpoint's ``*.py`` files (they are not run here).
        progress: Called before a slow step.

    Raises:
        UsageError: No such path, hub id or revision; ``dtype`` where it does not apply.
        UnsupportedError: The checkpoint cannot be deployed; the error has all problems.
        BuildError: The network, the hub or the disk failed.
    """
    parsed = parse_source(source)
    choices = Choices(allow_pickle, trust_remote_code)
    if dtype not in _DTYPES:
        raise UsageError(f"unknown dtype {dtype!r}", fix="use float32 or bfloat16")
    if parsed.kind in ("gguf", "sample"):
        return _opener(parsed)(parsed, dtype, choices, progress)
    if dtype:
        raise UsageError(
            f"dtype {dtype} is for .gguf files and samples; {parsed.text} keeps its own",
            where=parsed.text,
            fix=f"leave --dtype out, or set the engine's own: --set dtype={dtype}",
        )
    if parsed.kind == "local":
        from trtbuild.checkpoint.local import open_local

        return open_local(parsed, choices)
    from trtbuild.checkpoint.hub import open_hub

    return open_hub(parsed, choices, progress)


def _opener(source: Source) -> Opener:
    """The plug-in that converts sources of this kind; trtbuild's own if it is installed."""
    point = next((each for each in points(ENTRY_POINT_GROUP) if each.name == source.kind), None)
    if point is None:
        raise UsageError(
            f"no installed package converts {source.text}",
            where=source.text,
            fix="install trtbuild again, or give a directory or a hub id",
        )
    opener: Opener = point.load()
    return opener


def materialize(checkpoint: Checkpoint, progress: Progress = SILENT) -> tuple[CheckpointFile, ...]:
    """Return every file of the checkpoint with a path on this machine.

    Hub files are downloaded (resuming earlier downloads), GGUF files are converted into a cached
    directory, local files are used in place.

    Raises:
        BuildError: The network, the hub or the disk failed; no partial files are left.
    """
    return checkpoint.materializer(progress)
