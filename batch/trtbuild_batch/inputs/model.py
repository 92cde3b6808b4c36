"""A row of the input, and the files that rows come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from trtbuild_batch.places import Place

Needed = Callable[[int, int], bool]
"""Whether any row from the first number up to the second, which is not included, is wanted."""


class Row(NamedTuple):
    """A row by its number over all files, from 0.

    ``values`` are by column; with a ``problem`` the row cannot be used and has none.
    """

    number: int
    values: Mapping[str, Any]
    problem: str = ""


class InputFile(NamedTuple):
    """A file of the input.

    Attributes:
        place: Where it is.
        format: ``parquet``, ``csv`` or ``jsonl``.
        bytes: Its size.
        modified: Nanoseconds since 1970; 0 if unknown.
    """

    place: Place
    format: str
    bytes: int
    modified: int
