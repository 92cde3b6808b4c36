"""How well the rankings that users were given agree with judgements, as values of requests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from trtbuild.errors import BenchError, UsageError
from trtbuild_experiments.metrics import Metric
from trtbuild_experiments.records import Records
from trtbuild_measure.evaluation.collection import read_judgements
from trtbuild_measure.evaluation.measures import measure_name, measured


def add_measures(metrics: Iterable[Metric], judgements: Path, records: Records) -> None:
    """Compute the metrics that are measures of rankings, such as ``ndcg@10``.

    Each exposure with ``query`` and ``ranking`` whose query is judged gets a value.

    Raises:
        UsageError: No such file, a damaged one, or no metric is a measure.
        BenchError: No ranking of a judged query was recorded.
    """
    names = [metric.name for metric in metrics if _is_measure(metric.name)]
    if not names:
        raise UsageError(
            "--judgements was given and no metric needs them", fix="add --metric ndcg@10"
        )
    judged = read_judgements(judgements)
    kept = {str(at): one for at, one in enumerate(records.rankings) if one.query in judged}
    if missing := len(records.rankings) - len(kept):
        records.left_out["rankings of queries without judgements"] += missing
    if not kept:
        raise BenchError(
            "no ranking of a judged query was recorded",
            where=str(judgements),
            fix="write query (its id in the judgements) and ranking (ids of documents, the best "
            "first) into exposures",
        )
    by_request = {key: judged[one.query] for key, one in kept.items()}
    rankings = {key: one.documents for key, one in kept.items()}
    for name, values in measured(names, by_request, rankings).items():
        for key, value in values.items():
            records.add(name, kept[key].user, value)


def _is_measure(name: str) -> bool:
    try:
        return bool(measure_name(name))
    except UsageError:
        return False
