"""Rerankers that are language models, listed by name in ``data/rerankers.toml``."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass

from trtbuild.resources import data_file


@dataclass(frozen=True, slots=True)
class GeneratingReranker:
    """A row of the table.

    Attributes:
        name: A part of the model's name, in lower case.
        architectures: As published, and as a classifier that was made from it.
        words: The words whose logits decide; the first one means yes.
        template: The prompt, with ``{query}`` and ``{document}``.
    """

    name: str
    architectures: tuple[str, ...]
    words: tuple[str, ...]
    template: str


def reranker_of(source: str, architecture: str) -> GeneratingReranker | None:
    """Return the row for a checkpoint whose hub id or directory is ``source``."""
    name = source.lower()
    for row in _table():
        if row.name in name and architecture in row.architectures:
            return row
    return None


@functools.cache
def _table() -> Sequence[GeneratingReranker]:
    rows = tomllib.loads(data_file("rerankers.toml").read_text(encoding="utf-8"))["reranker"]
    return tuple(
        GeneratingReranker(
            name=row["name"],
            architectures=tuple(row["architectures"]),
            words=tuple(row["words"]),
            template=row["template"],
        )
        for row in rows
    )
