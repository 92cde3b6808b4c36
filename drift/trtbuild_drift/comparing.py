"""Compare a window with the baseline: which segments have drifted, in what, and which texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trtbuild.errors import UsageError
from trtbuild.progress import SILENT, Progress
from trtbuild_drift import baseline, features, state, statistics
from trtbuild_drift.measured import Measured, Segment, measure
from trtbuild_drift.options import Asking, BaselineOptions, Columns, CompareOptions

_SHOWN = 160  # characters of an example


@dataclass(frozen=True, slots=True)
class Signal:
    """One comparison.

    Attributes:
        segment: The user segment.
        name: ``embeddings``, ``words``, ``lengths``, ``languages`` or ``refusals``.
        old: The baseline's value, for people.
        new: The window's.
        distance: 0 for equal samples; embeddings up to 2, the others up to 1.
        p: Of this comparison alone.
        adjusted: For all comparisons of the window.
        drifted: Whether ``adjusted`` is at most the level.
        windows: So many in a row have drifted.
        alert: That is as many as an alert needs.
    """

    segment: str
    name: str
    old: str
    new: str
    distance: float
    p: float
    adjusted: float
    drifted: bool
    windows: int = 0
    alert: bool = False


@dataclass(frozen=True, slots=True)
class Examples:
    """The texts of a drifted segment that are the least like the baseline's, the newest first.

    ``separation`` is the area under the ROC curve of the classifier that chose them: 0.5 if texts
    of the window cannot be told from the baseline's, 1 if every one can.
    """

    segment: str
    separation: float
    texts: list[str]


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a window.

    Attributes:
        texts: Compared texts of each segment.
        signals: All comparisons.
        examples: Of each segment that has drifted.
        left_out: What was not compared, and how often.
    """

    texts: dict[str, int]
    signals: list[Signal]
    examples: list[Examples]
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def alerts(self) -> list[Signal]:
        """The comparisons that are alerts."""
        return [one for one in self.signals if one.alert]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as ``--json`` prints it."""
        return {"alert": bool(self.alerts), **asdict(self)}


def make_baseline(
    options: BaselineOptions, columns: Columns, asking: Asking, progress: Progress = SILENT
) -> Measured:
    """Measure a window, and write it as a baseline.

    Raises:
        UsageError: The input cannot be used, or has too few texts.
        ServerError: The embedding model does not answer.
        BuildError: The file cannot be written.
    """
    found = measure(options.inputs, columns, asking, options.sample, progress)
    baseline.write(options.out, found, columns, asking, options.sample)
    return found


def compare(options: CompareOptions, asking: Asking, progress: Progress = SILENT) -> Report:
    """Compare a window with the baseline, and count it in the state file.

    Raises:
        UsageError: There is no baseline, the window has too few texts or none of its segments, or
            another model made its embeddings.
        ServerError: The embedding model does not answer.
        BuildError: The state cannot be written.
    """
    base = baseline.read(options.baseline)
    known = state.read(options.state_file, base.digest)
    if base.asking.target and not asking.target:
        asking = asking.instead_of(base.asking)
    if asking.target and not base.asking.target:
        raise UsageError(
            "the baseline has no embeddings of a model, so --target cannot be compared",
            fix="leave --target out, or make a new baseline with it",
        )
    found = measure(options.inputs, base.columns, asking, base.sample, progress)
    baseline.require_same_model(base.model, found.model)
    common = [name for name in found.segments if name in base.segments]
    if not common:
        raise UsageError(
            "the window and the baseline have no segment in common",
            where=f"baseline: {', '.join(base.segments)}; window: {', '.join(found.segments)}",
            fix="make a baseline of texts with these segments",
        )
    progress.step("comparing")
    report = _report(common, base.segments, found, options)
    drifted = {(one.segment, one.name): one.drifted for one in report.signals}
    now = known.after(found.window.digest, drifted)
    state.write(options.state_file, now)
    counted = [_counted(one, now, options.windows) for one in report.signals]
    return replace(report, signals=counted)


def _report(
    common: list[str], base: Mapping[str, Segment], found: Measured, options: CompareOptions
) -> Report:
    random = np.random.default_rng(0)
    rows: list[tuple[str, str, str, str]] = []
    tables: list[NDArray[Any]] = []
    for name in common:
        old, new = base[name], found.segments[name]
        members = statistics.divisions(len(new), len(old), random)
        for signal, (statistic, shown) in _SIGNALS.items():
            table = statistic(members, new, old)
            if table is not None:
                rows.append((name, signal, shown(old), shown(new)))
                tables.append(table)
    signals = [
        Signal(*row, float(table[0]), statistics.chance(table), p, p <= options.level)
        for row, table, p in zip(rows, tables, statistics.adjusted(tables), strict=True)
    ]
    drifted = dict.fromkeys(one.segment for one in signals if one.drifted)
    examples = [_examples(name, base[name], found, options.examples) for name in drifted]
    left_out = dict(found.window.left_out)
    for name in sorted(found.window.segments.keys() | base.keys()):
        if name not in common:
            why = "not in the baseline" if name not in base else "too few texts now"
            left_out[f"segment {name}: {why}"] = found.window.seen[name]
    return Report({one: len(found.segments[one]) for one in common}, signals, examples, left_out)


def _counted(one: Signal, now: state.State, needed: int) -> Signal:
    windows = now.runs[one.segment, one.name]
    return replace(one, windows=windows, alert=windows >= needed)


def _examples(name: str, old: Segment, found: Measured, count: int) -> Examples:
    new = found.segments[name]
    pair = [old.vectors, new.vectors]
    if not len(new.vectors):
        pair = [np.sqrt(features.shares(one.histograms)) for one in (old, new)]
    scores, separation = statistics.new_scores(pair[0], pair[1], np.random.default_rng(0))
    best = np.argsort(-scores, kind="stable")
    texts = dict.fromkeys(found.window.segments[name][at].text for at in best)
    shown = [text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…" for text in texts]
    return Examples(name, separation, shown[:count])


Statistic = Callable[[NDArray[Any], Segment, Segment], NDArray[Any] | None]


def _embeddings(members: NDArray[Any], new: Segment, old: Segment) -> NDArray[Any] | None:
    if not len(new.vectors):
        return None
    both = np.concatenate([new.vectors, old.vectors])
    return statistics.centroids(members, statistics.damped(both))


def _words(members: NDArray[Any], new: Segment, old: Segment) -> NDArray[Any]:
    both = np.concatenate([new.histograms, old.histograms])
    return statistics.jensen_shannon(members, features.shares(both))


def _lengths(members: NDArray[Any], new: Segment, old: Segment) -> NDArray[Any]:
    return statistics.kolmogorov_smirnov(members, np.concatenate([new.lengths, old.lengths]))


def _languages(members: NDArray[Any], new: Segment, old: Segment) -> NDArray[Any]:
    both = np.concatenate([new.languages, old.languages])
    classes = np.unique(both)
    return statistics.jensen_shannon(members, (both[:, None] == classes).astype(np.float32))


def _refusals(members: NDArray[Any], new: Segment, old: Segment) -> NDArray[Any] | None:
    if not len(new.refused):
        return None
    both = np.concatenate([new.refused, old.refused]).astype(np.float32)
    return statistics.centroids(members, both[:, None])


def _common_languages(one: Segment) -> str:
    names, counts = np.unique(one.languages, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:3]
    return ", ".join(f"{names[at]} {counts[at] / len(one):.0%}" for at in order)


_SIGNALS: Mapping[str, tuple[Statistic, Callable[[Segment], str]]] = {
    "embeddings": (_embeddings, lambda _: ""),
    "words": (_words, lambda _: ""),
    "lengths": (_lengths, lambda one: f"median {np.median(one.lengths):.0f} characters"),
    "languages": (_languages, _common_languages),
    "refusals": (_refusals, lambda one: f"{one.refused.mean():.1%}"),
}
