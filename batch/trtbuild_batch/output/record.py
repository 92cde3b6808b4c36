"""``_job.json``: what the rows of an output directory were made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from trtbuild.errors import BuildError, UsageError
from trtbuild.wire.failures import UNREADABLE
from trtbuild_batch.places import Place

NAME = "_job.json"
REFRESH = "_refresh.json"
"""What a directory of ``batch refresh`` has instead."""
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Record:
    """A job.

    Attributes:
        fingerprint: Everything that the answers depend on. Rows of different fingerprints never
            get into one directory.
        starts: Number of the first row of each input file, and of all rows.
        part_rows: Rows of a part.
        output: ``text``, ``json``, ``vector`` or ``scores``.
        id: The column with the rows' ids; empty without.
        dimension: Numbers of a vector; 0 without.
    """

    fingerprint: Mapping[str, Any]
    starts: Sequence[int]
    part_rows: int
    output: str
    id: str = ""
    dimension: int = 0

    @property
    def rows(self) -> int:
        """All rows."""
        return self.starts[-1]

    @property
    def parts(self) -> int:
        """All parts."""
        return -(-self.rows // self.part_rows)

    @property
    def key(self) -> str:
        """A digest of the fingerprint."""
        text = json.dumps(self.fingerprint, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def span(self, part: int) -> tuple[int, int]:
        """Return the first row of a part, and the row after its last."""
        return part * self.part_rows, min(self.rows, (part + 1) * self.part_rows)

    def render(self) -> bytes:
        """Return the content of the file; the same job has the same bytes."""
        text = json.dumps({"version": _VERSION, **asdict(self)}, indent=2, ensure_ascii=False)
        # Half a pair of surrogates, as in a prompt that is not UTF-8, becomes an escape of JSON.
        return (text + "\n").encode("utf-8", "backslashreplace")


def read(folder: Place) -> Record | None:
    """Return the job of a directory; None if it has none.

    Raises:
        BuildError: The file is damaged.
    """
    content = (folder / NAME).read()
    if content is None:
        return None
    try:
        found = json.loads(content)
        version = found.pop("version")
        if version != _VERSION:
            raise ValueError(f"version {version!r} is unknown")
        record = Record(**found)
        if any(type(number) is not int for number in (*record.starts, record.part_rows)):
            raise ValueError("a number of rows is none")
        if record.part_rows < 1 or record.rows < 1 or not isinstance(record.fingerprint, dict):
            raise ValueError("a value cannot be")
    except UNREADABLE as error:
        raise BuildError(
            f"{folder / NAME} is damaged: {error}",
            fix="restore it, or choose another directory with -o",
        ) from None
    return record


def need(folder: Place) -> Record:
    """Return the job of a directory.

    Raises:
        UsageError: It has none.
    """
    found = read(folder)
    if found is not None:
        return found
    if not (folder / REFRESH).exists:
        raise nothing(folder)
    raise UsageError(
        f"{folder} has no job: it belongs to a refresh",
        fix=f"`trtbuild batch status {folder}` shows the refresh, and its vectors are in the sink; "
        f"the rows that it is embedding are the job {folder / 'pending' / 'out'}",
    )


def nothing(folder: object) -> UsageError:
    """What to say of a directory that neither command wrote."""
    return UsageError(
        f"{folder} has no job and no refresh",
        fix="name a directory that `trtbuild batch run -o` or `batch refresh -o` wrote",
    )


def require_same(old: Record, new: Record, folder: Place) -> None:
    """Raise UsageError, with every difference, if ``new`` would mix rows of two jobs."""
    found = tuple(differences(old.fingerprint, new.fingerprint))
    if found:
        raise UsageError(
            f"{folder} has rows of another job, and two jobs are never mixed",
            details=found,
            fix="choose another directory with -o, restore the former values, or remove the old "
            "rows with --new",
        )


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence about each value of two fingerprints that differs."""
    for name in dict.fromkeys((*old, *new)):
        before, now = old.get(name), new.get(name)
        if before == now:
            continue
        if name == "inputs":
            yield from _inputs(before or [], now or [])
        else:
            yield f"{name}: was {_shown(before)}, is now {_shown(now)}"


def _inputs(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if len(old) != len(new):
        yield f"the input had {len(old)} files, and has now {len(new)}"
        return
    for before, now in zip(old, new, strict=True):
        if before["name"] != now["name"]:
            yield f"the input was {before['name']}, and is now {now['name']}"
        elif before != now:
            yield f"{now['name']} has changed ({before['bytes']} bytes, now {now['bytes']})"


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
