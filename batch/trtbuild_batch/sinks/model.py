"""What every sink can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pyarrow import Schema, Table

VECTOR = "vector"
"""The column with the vectors, beside ``id`` and the kept columns."""


@dataclass(frozen=True, slots=True)
class SinkAddress:
    """A sink.

    Attributes:
        kind: ``parquet``, ``lancedb``, ``postgresql`` or ``qdrant``.
        where: A file, a directory or a URL; local paths are absolute.
        name: The table or collection; empty for a file.
    """

    kind: str
    where: str
    name: str = ""

    def __str__(self) -> str:
        if self.kind == "parquet":
            return self.where
        prefix = "" if self.kind == "postgresql" else f"{self.kind}:"
        return f"{prefix}{self.where}#{self.name}"


class Sink(Protocol):
    """A collection of vectors by id.

    It has generations: vectors of two models are never in one, and readers, who know its name only,
    see one whole generation. Every method may be called again after a crash with the same result.
    All but ``close`` raise BuildError if the database does not answer or refuses.
    """

    def holds(self, generation: int) -> bool:
        """Whether this generation was begun, and not dropped."""

    def begin(self, generation: int, schema: Schema) -> None:
        """Make this generation unless it is there; what follows is about it.

        Args:
            generation: From 1.
            schema: ``id``, the kept columns, and the vector as a list of fixed size.
        """

    def upsert(self, rows: Table) -> None:
        """Add rows, and replace those whose id is there. From ``begin`` to ``publish`` an id comes
        once."""

    def delete(self, ids: Sequence[str]) -> None:
        """Remove the rows with these ids; those that are not there do not matter."""

    def publish(self) -> None:
        """Show the generation, with everything done to it, to readers."""

    def drop(self, generation: int) -> None:
        """Remove another generation, if it is there."""

    def close(self) -> None:
        """Close the connection."""
