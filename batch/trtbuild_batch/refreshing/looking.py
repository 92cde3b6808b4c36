"""Look at a refresh: what its sink holds, and how far the refresh is."""

from __future__ import annotations

from dataclasses import dataclass

from trtbuild_batch.jobs import looking
from trtbuild_batch.jobs.preparing import scratch_of
from trtbuild_batch.output import contents, record
from trtbuild_batch.output.contents import Contents
from trtbuild_batch.output.record import NAME as JOB
from trtbuild_batch.places import Place, place
from trtbuild_batch.refreshing import memory
from trtbuild_batch.refreshing.digests import count
from trtbuild_batch.refreshing.run import OUT, PENDING


@dataclass(frozen=True, slots=True)
class RefreshStatus:
    """What a directory of ``trtbuild batch refresh`` says.

    Attributes:
        out: The directory.
        sink: Where the vectors are.
        generation: What readers see; 0 before the first refresh has ended.
        vectors: How many they see.
        refreshes: How many have finished.
        running: Whether a process of this machine works on it.
        embed: Rows that a refresh under way embeds; None without one.
        remove: Ids that it removes; None without one.
        embedding: How far its embedding is; None before it, and without one.
    """

    out: str
    sink: str
    generation: int
    vectors: int
    refreshes: int
    running: bool
    embed: int | None
    remove: int | None
    embedding: Contents | None

    @property
    def complete(self) -> bool:
        """Whether there is nothing in progress."""
        return self.embed is None and not self.running


def status(out: str) -> Contents | RefreshStatus:
    """Return how far the job or the refresh of a directory is.

    Raises:
        UsageError: It has neither.
        BuildError: A file is damaged, or the object store does not answer.
    """
    folder = place(out)
    known = memory.look(folder)
    if known is None:
        if (folder / JOB).read() is None:
            raise record.nothing(folder)
        return looking.status(out)
    pending, current = known.pending, known.current
    return RefreshStatus(
        out=str(folder),
        sink=known.sink,
        generation=current.number if current else 0,
        vectors=count(folder / known.digests) if known.digests else 0,
        refreshes=known.commits,
        running=contents.held(scratch_of(folder)),
        embed=pending.embed if pending else None,
        remove=pending.remove if pending else None,
        embedding=_embedding(folder / PENDING / OUT) if pending else None,
    )


def _embedding(folder: Place) -> Contents | None:
    return looking.status(str(folder)) if (folder / JOB).read() is not None else None
