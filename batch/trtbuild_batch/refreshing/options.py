"""The options of a refresh; the command line makes its flags from them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from trtbuild.cli.fields import option
from trtbuild.errors import UsageError
from trtbuild_batch.options import CommonOptions, RunOptions, TaskOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshOptions(CommonOptions):
    """What is embedded, by which model, and where the vectors go."""

    out: str = option(
        ..., "The directory that records what the sink holds; local, s3:// or gs://.", short="-o"
    )
    id: str = option(..., "The column with the id of each row, which is unique.")
    keep: tuple[str, ...] = option(
        (), "A column to store beside the vector, or '*'; repeatable. Changes to it count, too."
    )
    new: bool = option(False, "Embed all rows into a new collection, even with the same model.")
    embed: str = option(..., "The column with the text to embed.")
    sink: str = option(
        ...,
        "Where the vectors go: FILE.parquet, lancedb:DIRECTORY#TABLE, "
        "postgresql://HOST/DATABASE#TABLE, qdrant:http://HOST:6333#COLLECTION.",
    )
    input_type: str = option("", "query or passage.")
    dimensions: int | None = option(None, "Dimensions to keep of each vector.", min=1)
    max_removed: float = option(
        0.5, "Share of the ids that may vanish from the input at once.", min=0, max=1
    )

    def __post_init__(self) -> None:
        for name in ("id", "embed", "sink"):
            if not getattr(self, name):
                raise UsageError(f"--{name} is empty", fix=f"give --{name} a value")
        self.task()

    def task(self) -> TaskOptions:
        """Return the task of the batch job that embeds."""
        return TaskOptions(embed=self.embed, input_type=self.input_type, dimensions=self.dimensions)

    def job(self, **changed: Any) -> RunOptions:
        """Return the options of the batch job that embeds, with some ``changed``."""
        common = {one.name: getattr(self, one.name) for one in fields(CommonOptions)}
        return RunOptions(**{**common, "new": False, **changed})
