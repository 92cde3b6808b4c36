"""How many windows in a row have drifted: a small file beside the baseline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trtbuild.errors import UsageError
from trtbuild.files import atomic_write, disk_trouble

Key = tuple[str, str]
"""A segment and a signal."""


@dataclass(frozen=True, slots=True)
class State:
    """The windows so far.

    Attributes:
        baseline: Digest of the baseline that they were compared with.
        window: Digest of the last one.
        before: Drifted windows in a row, up to the one before the last.
        runs: Up to the last one.
    """

    baseline: str
    window: str
    before: Mapping[Key, int]
    runs: Mapping[Key, int]

    def after(self, window: str, drifted: Mapping[Key, bool]) -> State:
        """Return the state after one more window. The same window again counts once, and a segment
        that is not in ``drifted`` keeps its number."""
        before = self.before if window == self.window else self.runs
        runs = dict(before)
        for key, one in drifted.items():
            runs[key] = before.get(key, 0) + 1 if one else 0
        return State(self.baseline, window, before, runs)


def read(path: Path, baseline: str) -> State:
    """Return the state of a file: a new one if there is none, or one of another baseline.

    Raises:
        UsageError: It is damaged.
    """
    new = State(baseline, "", {}, {})
    try:
        found = json.loads(path.read_bytes())
        if found["baseline"] != baseline:
            return new
        return State(
            baseline, str(found["window"]), _counts(found["before"]), _counts(found["runs"])
        )
    except FileNotFoundError:
        return new
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UsageError(
            f"{path} cannot be read as the state of `drift compare`: {error}",
            fix="remove it to restart the count, or name another file with --state",
        ) from None


def write(path: Path, state: State) -> None:
    """Write the state at once.

    Raises:
        BuildError: The disk is full, or the directory cannot be written.
    """
    found = {
        "baseline": state.baseline,
        "window": state.window,
        "before": _listed(state.before),
        "runs": _listed(state.runs),
    }
    with disk_trouble(path.parent):
        atomic_write(path, json.dumps(found, ensure_ascii=False, indent=1).encode() + b"\n")


def _counts(rows: list[list[object]]) -> dict[Key, int]:
    return {(str(segment), str(signal)): int(str(count)) for segment, signal, count in rows}


def _listed(counts: Mapping[Key, int]) -> list[list[object]]:
    return [[*key, count] for key, count in counts.items()]
