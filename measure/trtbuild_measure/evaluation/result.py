"""The result of an evaluation as one JSON object: values, differences, gates."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtbuild.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trtbuild_measure.evaluation.measures import Rankings

FORMAT = "trtbuild-eval/1"
_TOP = 10

Json = dict[str, Any]


def target_result(
    name: str, facts: Json, values: Mapping[str, Mapping[str, float]], rankings: Rankings
) -> Json:
    """One target: mean and 95 % interval of each measure, its value for each query, and the best
    ten documents of each."""
    import numpy as np

    measures = {}
    for measure, by_query in values.items():
        row = np.array(list(by_query.values()))
        measures[measure] = {
            "mean": float(row.mean()),
            "interval": _interval(row, 0.0),
            "queries": dict(by_query),
        }
    top = {query: list(documents[:_TOP]) for query, documents in rankings.items()}
    return {"name": name, **facts, "measures": measures, "top": top}


def _interval(values: NDArray[Any], least: float) -> list[float] | None:
    """Of the mean, widened no further than a measure goes."""
    from trtbuild_measure.resampling import mean_interval

    found = mean_interval(values)
    return found and [min(1.0, max(least, end)) for end in found]


def compare(reference: Json, other: Json) -> Json:
    """Differences (``other`` minus ``reference``) query by query, with the paired bootstrap's 95 %
    interval; and the share of the reference's best ten documents that are among the other's."""
    import numpy as np

    measures = {}
    for measure, found in other["measures"].items():
        before = reference["measures"][measure]["queries"]
        apart = np.array([value - before[query] for query, value in found["queries"].items()])
        measures[measure] = {
            "difference": float(apart.mean()),
            "interval": _interval(apart, -1.0),
            "better": int((apart > 0).sum()),
            "worse": int((apart < 0).sum()),
            "same": int((apart == 0).sum()),
        }
    shared = [
        len(set(documents) & set(other["top"].get(query, ()))) / len(documents)
        for query, documents in reference["top"].items()
        if documents
    ]
    return {
        "reference": reference["name"],
        "target": other["name"],
        "measures": measures,
        "top_overlap": sum(shared) / len(shared) if shared else None,
    }


def gates(result: Json, minimum: Mapping[str, float], max_drop: Mapping[str, float]) -> list[Json]:
    """Each limit on each target, and whether it holds. A drop is judged by the lower end of its
    interval: too few queries to rule a larger one out do not pass."""
    found = []
    for target in result["targets"]:
        for measure, limit in minimum.items():
            value = target["measures"][measure]["mean"]
            about = {"gate": "min", "measure": measure, "target": target["name"]}
            found.append({**about, "value": value, "limit": limit, "passed": value >= limit})
    for row in result["comparisons"]:
        for measure, limit in max_drop.items():
            interval = row["measures"][measure]["interval"]
            low = interval[0] if interval else None
            passed = low is not None and low >= -limit - 1e-12
            about = {"gate": "max-drop", "measure": measure, "target": row["target"]}
            found.append({**about, "value": low, "limit": limit, "passed": passed})
    return found


def failed(result: Json) -> Iterator[str]:
    """A sentence for each gate that does not hold."""
    for one in result["gates"]:
        if one["passed"]:
            continue
        value = "unknown" if one["value"] is None else f"{one['value']:.4f}"
        if one["gate"] == "min":
            yield f"{one['target']}: {one['measure']} is {value}, below {one['limit']:g}"
        else:
            yield (
                f"{one['target']}: {one['measure']} may have dropped by more than "
                f"{one['limit']:g}: the difference's 95 % interval begins at {value}"
            )


def read_reference(path: Path, digest: str, measures: Sequence[str]) -> Json:
    """The first target of an earlier result.

    Raises:
        UsageError: It is not one, is of another collection, or lacks a measure.
    """
    fix = "give a file that `trtbuild eval --out FILE` wrote"
    try:
        found = json.loads(path.read_bytes())
        if found["format"] != FORMAT:
            raise ValueError(f"its format is {found['format']!r}")
        target, of = found["targets"][0], found["collection"]["digest"]
        _ = [float(v) for m in target["measures"].values() for v in m["queries"].values()]
        _ = [target["name"], *(documents[:_TOP] for documents in target["top"].values())]
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error}", fix=fix) from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        why = f"{type(error).__name__}: {error}"
        raise UsageError(f"{path} is not the result of an evaluation", where=why, fix=fix) from None
    if of != digest:
        raise UsageError(
            "the baseline was measured on another set, or on other contents of it",
            where=str(path),
            fix="evaluate the reference again on this set",
        )
    missing = [one for one in measures if one not in target["measures"]]
    if missing:
        raise UsageError(
            f"the baseline has no {', '.join(missing)}",
            where=str(path),
            fix="evaluate the reference again with these measures, or leave them out",
        )
    return {**target, "name": f"{target['name']} ({path.name})"}
