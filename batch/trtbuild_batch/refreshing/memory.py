"""``_refresh.json``: what a sink holds, and the refresh that is not finished."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from trtbuild.errors import BuildError, UsageError
from trtbuild_batch.output.record import REFRESH as NAME
from trtbuild_batch.places import Place
from trtbuild_batch.sinks import Sink

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Generation:
    """Vectors that may be compared with each other.

    Attributes:
        number: From 1.
        fingerprint: Everything that they depend on, and the columns that are stored with them.
        probe: The model's vector of a fixed text, little-endian float32 as hexadecimal digits.
    """

    number: int
    fingerprint: Mapping[str, Any]
    probe: str

    @property
    def dimension(self) -> int:
        """Numbers of a vector."""
        return len(self.probe) // 8


@dataclass(frozen=True, slots=True)
class Pending:
    """A refresh that is planned, and not finished.

    Attributes:
        generation: What its vectors belong to.
        embed: Rows to embed.
        remove: Ids to remove.
        unreadable: Rows of the input that are left out.
        inputs: What identifies the input of a new generation, whose rows may have to be corrected.
    """

    generation: Generation
    embed: int
    remove: int
    unreadable: int
    inputs: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Memory:
    """What is known about a sink.

    Attributes:
        sink: The sink.
        current: What readers see; None before the first refresh has ended.
        digests: The file with the digest of every id; empty before the first refresh has ended.
        pending: The refresh that is not finished.
        commits: How many refreshes have ended.
        stale: Generations to drop when another one has been shown to readers.
    """

    sink: str
    current: Generation | None = None
    digests: str = ""
    pending: Pending | None = field(default=None)
    commits: int = 0
    stale: tuple[int, ...] = ()

    def free_in(self, sink: Sink) -> int:
        """Return the number of the next generation, which the sink does not have.

        One that it has is of another directory, or of others: its rows would stay among ours.
        """
        used = [
            one.number for one in (self.current, self.pending and self.pending.generation) if one
        ]
        number = max([0, *used, *self.stale]) + 1
        while sink.holds(number):
            number += 1
        return number

    def write(self, folder: Place) -> None:
        """Write the file at once. BuildError."""
        text = json.dumps({"version": _VERSION, **asdict(self)}, indent=2, ensure_ascii=False)
        (folder / NAME).write(f"{text}\n".encode())


def look(folder: Place) -> Memory | None:
    """Return what a directory knows; None if it is none of a refresh. BuildError if damaged."""
    content = (folder / NAME).read()
    return None if content is None else _parsed(content, folder)


def read(folder: Place, sink: str) -> Memory:
    """Return what the directory knows about ``sink``; nothing yet for an empty one.

    Raises:
        UsageError: The directory is about another sink, or has files of something else.
        BuildError: The file is damaged.
    """
    content = (folder / NAME).read()
    if content is None:
        others = [name for name in folder.names() if not name.startswith(".")]
        if others:
            raise UsageError(
                f"{folder} is not empty, and has no refresh",
                where=", ".join(others[:5]),
                fix="choose a new directory with -o",
            )
        return Memory(sink)
    found = _parsed(content, folder)
    if found.sink != sink:
        raise UsageError(
            f"{folder} is about another sink: {found.sink}",
            where=f"--sink {sink}",
            fix="choose another directory with -o for each sink",
        )
    return found


def _parsed(content: bytes, folder: Place) -> Memory:
    try:
        found = json.loads(content)
        version = found.pop("version")
        if version != _VERSION:
            raise ValueError(f"version {version!r} is unknown")
        current, pending = found.pop("current"), found.pop("pending")
        if pending:
            pending = Pending(**pending | {"generation": Generation(**pending["generation"])})
        found["stale"] = tuple(found["stale"])
        return Memory(
            **found, current=Generation(**current) if current else None, pending=pending or None
        )
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise BuildError(
            f"{folder / NAME} is damaged: {error}",
            fix="restore it, or choose another directory with -o and fill a new sink",
        ) from None
