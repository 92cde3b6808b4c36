"""The texts of a window, by user segment: read from files, and drawn at random."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trtbuild.errors import UsageError
from trtbuild.progress import Progress
from trtbuild_batch.asking.tasks import require_column
from trtbuild_batch.inputs import Row, Source, open_source
from trtbuild_drift.features import refuses
from trtbuild_drift.options import Columns

FEWEST = 50
"""Texts of a segment: below, only a complete change would be found."""
_MOST_SEGMENTS = 200
_JOB = "_job.json"  # of a batch job, beside its rows
_MODEL = ("model", "embed", "input_type", "dimensions")


@dataclass(frozen=True, slots=True)
class Text:
    """A text, whether its answer refuses (None: not known), and its embedding (None: not yet)."""

    text: str
    refused: bool | None = None
    vector: NDArray[np.float32] | None = None


@dataclass(slots=True)
class Window:
    """The texts of a window.

    Attributes:
        segments: Drawn texts of each segment; the only one is ``all`` without a column for it.
        seen: All texts of each segment.
        left_out: Rows that were not used, by reason.
        origin: What made the embeddings of a column, where a batch job beside the files says so.
        digest: Of all rows that were read.
    """

    segments: dict[str, list[Text]] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    origin: dict[str, Any] = field(default_factory=dict)
    digest: str = ""

    def large(self) -> list[str]:
        """Return the segments with enough texts.

        Raises:
            UsageError: None has enough.
        """
        found = sorted(name for name, texts in self.segments.items() if len(texts) >= FEWEST)
        if not found:
            largest = max(map(len, self.segments.values()), default=0)
            raise UsageError(
                f"too few texts: no segment has {FEWEST} of them, the largest has {largest}",
                where=", ".join(f"{count} rows: {why}" for why, count in self.left_out.items()),
                fix="take a longer window of time, or a coarser --segment",
            )
        return found


def read_window(inputs: Sequence[str], columns: Columns, sample: int, progress: Progress) -> Window:
    """Read all rows, and keep at most ``sample`` texts of each segment, all equally likely.

    The same files give the same texts.

    Raises:
        UsageError: No such file, a missing column, a value of another type, too many segments.
    """
    source = open_source(inputs)
    for option, name in columns.named:
        if name not in source.columns:
            require_column(name.partition(".")[0], list(source.columns), option)
    wanted = {part for _, name in columns.named for part in (name, name.partition(".")[0])}
    window = Window(origin=_origin(source) if columns.embedding else {})
    chance, content = random.Random(0), hashlib.sha256()  # noqa: S311 - a sample is not a secret
    progress.step("reading the texts")
    for batch in replace(source, read=frozenset(wanted)).batches():
        for row in batch:
            values = [_value(row, name) for _, name in columns.named]
            content.update(json.dumps(values, default=str).encode())
            _add(window, row, columns, sample, chance)
        progress.advance(batch[-1].number + 1, 0, "rows")
    window.digest = content.hexdigest()
    return window


def _add(window: Window, row: Row, columns: Columns, sample: int, chance: random.Random) -> None:
    found = _read(row, columns)
    if isinstance(found, str):
        window.left_out[found] += 1
        return
    segment, text = found
    texts = window.segments.setdefault(segment, [])
    if len(window.segments) > _MOST_SEGMENTS:
        raise UsageError(
            f"the column {columns.segment!r} has more than {_MOST_SEGMENTS} segments",
            where="--segment",
            fix="name a column with few values, such as a country or a plan, not an id of a user",
        )
    window.seen[segment] += 1
    if len(texts) < sample:
        texts.append(text)
    elif (at := chance.randrange(window.seen[segment])) < sample:
        texts[at] = text


def _read(row: Row, columns: Columns) -> tuple[str, Text] | str:
    """Return segment and text of a row, or why it has none."""
    if row.problem:
        return "not a JSON object"
    text = _unicode(_text(_value(row, columns.text)))
    if not text:
        return f"no text in {columns.text}"
    segment, refused, vector = "all", None, None
    if columns.segment:
        found = _value(row, columns.segment)
        if found is None or isinstance(found, list | dict):
            return f"no segment in {columns.segment}"
        segment = _unicode(str(found))
    if columns.answer:
        answer = _value(row, columns.answer)
        if not isinstance(answer, str | bool):
            return f"no answer in {columns.answer}"
        refused = answer if isinstance(answer, bool) else refuses(answer)
    if columns.embedding:
        vector = _vector(_value(row, columns.embedding))
        if vector is None:
            return f"no list of finite numbers in {columns.embedding}"
    return segment, Text(text, refused, vector)


def _value(row: Row, name: str) -> Any:
    """Return the value of a column, or of a path into objects."""
    values: Any = row.values
    if name in values:
        return values[name]
    for part in name.split("."):
        if not isinstance(values, Mapping):
            return None
        values = values.get(part)
    return values


def _text(value: Any) -> str:
    """Return a text, or the last one of a user in a list of chat messages; empty without."""
    if isinstance(value, str):
        return value.strip()
    for message in reversed(value if isinstance(value, list) else []):
        if isinstance(message, Mapping) and message.get("role") == "user":
            content = message.get("content")
            return content.strip() if isinstance(content, str) else ""
    return ""


def _unicode(text: str) -> str:
    """Return a text that can be written: JSON may escape half a character, such as \\ud800."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _vector(value: Any) -> NDArray[np.float32] | None:
    if not isinstance(value, list) or not value:
        return None
    if not all(isinstance(one, int | float) for one in value):
        return None
    try:
        with np.errstate(over="ignore"):
            found = np.array(value, np.float32)
    except OverflowError:  # of a whole number
        return None
    return found if np.isfinite(found).all() else None


def _origin(source: Source) -> dict[str, Any]:
    """Return what a batch job says about the model of its embeddings; empty without a job."""
    local = source.files[0].place.local
    if local is None:
        return {}
    try:
        found = json.loads((local.parent / _JOB).read_bytes())["fingerprint"]
        return {name: found[name] for name in _MODEL if found.get(name)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}
