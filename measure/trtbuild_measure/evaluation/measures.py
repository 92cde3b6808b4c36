"""Measures of rankings, computed by ``ir-measures``, and limits on them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trtbuild.errors import UsageError
from trtbuild_measure.evaluation.collection import Judgements

DEFAULT = ("ndcg@10", "mrr@10", "recall@10")
# Our names, and those of ir-measures. It can do more, some by starting programs.
_NAMES = {
    "ndcg": "nDCG", "mrr": "RR", "map": "AP", "recall": "R", "precision": "P", "success": "Success",
}  # fmt: skip
_WITH_CUTOFF = ("recall", "precision", "success")
_FORM = re.compile(r"([a-z]+)(?:@([1-9][0-9]{0,5}))?")

Rankings = Mapping[str, Sequence[str]]
"""Documents by query, best first."""


def measure_name(text: str) -> str:
    """A measure as results spell it, such as ``ndcg@10``.

    Raises:
        UsageError: It is not one.
    """
    found = _FORM.fullmatch(text.strip().lower())
    if found is None or found[1] not in _NAMES or (found[1] in _WITH_CUTOFF and not found[2]):
        raise UsageError(
            f"unknown measure {text!r}",
            fix=f"use one of {', '.join(_NAMES)} with a cutoff: ndcg@10",
        )
    return found[0]


def limits(option: str, texts: Iterable[str]) -> dict[str, float]:
    """Measures and their limits, written as ``ndcg@10=0.6``.

    Raises:
        UsageError: A text of another form, or a limit that is not between 0 and 1.
    """
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[measure_name(name)] = limit = float(value)
        except ValueError:
            limit = -1
        if not 0 <= limit <= 1:
            raise UsageError(
                f"{option} {text} has no limit between 0 and 1", fix=f"write {option} ndcg@10=0.6"
            )
    return found


def measured(
    names: Iterable[str], judgements: Judgements, rankings: Rankings
) -> dict[str, dict[str, float]]:
    """The value of each measure for each query that is judged; 0 for one without a ranking."""
    library = require_library()
    spelled = {str(library.parse_measure(_spelled(name))): name for name in names}
    run = {
        query: {document: float(-at) for at, document in enumerate(documents)}
        for query, documents in rankings.items()
        if documents
    }
    values = {name: dict.fromkeys(judgements, 0.0) for name in spelled.values()}
    if run:
        asked = [library.parse_measure(one) for one in spelled]
        for found in library.iter_calc(asked, judgements, run):
            values[spelled[str(found.measure)]][found.query_id] = float(found.value)
    return values


def _spelled(name: str) -> str:
    base, at, cutoff = name.partition("@")
    return _NAMES[base] + at + cutoff


def require_library() -> Any:
    """``ir_measures``.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import ir_measures
    except ImportError as error:
        raise UsageError(
            f"the measures need ir-measures: {error}", fix="pip install 'trtbuild[eval]'"
        ) from None
    return ir_measures
