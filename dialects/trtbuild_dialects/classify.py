"""Labels of texts or of pairs of texts.

``text`` and, for pairs, ``text_pair`` STRING → ``scores`` FP32 [labels], ``label`` STRING and
``token_count`` INT32, with the request parameters ``truncate`` and ``raw_scores``. Label names come
from the served model's description; without it they are ``LABEL_0`` and so on, as in transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trtbuild.signature.dialects.base import columns_of, misfit, required_rows, rows, text
from trtbuild.signature.model import ServedModel, ServedTask
from trtbuild.signature.requests import (
    Classification,
    ClassifyAnswer,
    ClassifyRequest,
    ImageClassifyRequest,
    TaskAnswer,
)
from trtbuild.wire.tensors import Outputs, Parameter
from trtbuild_dialects.batched import Batched

Labelling = ClassifyRequest | ImageClassifyRequest


class Labelled(Batched[Labelling, Classification]):
    """The answer of every model with a score for each label."""

    def options(self, model: ServedModel, request: Labelling) -> Mapping[str, Parameter | None]:
        """Return the parameters of the task."""
        return {**super().options(model, request), "raw_scores": request.raw_scores}

    def read(
        self, model: ServedModel, request: Labelling, part: slice, outputs: Outputs
    ) -> Sequence[Classification]:
        """Return the rows of ``scores``, each with its label."""
        size = part.stop - part.start
        scores = required_rows(model, outputs, "scores", size)
        best = rows(model, outputs, "label", size) or [()] * size
        return [_classification(model, *row) for row in zip(scores, best, strict=True)]

    def collect(
        self,
        model: ServedModel,
        request: Labelling,
        results: Sequence[Classification],
        counts: tuple[int, ...],
    ) -> TaskAnswer:
        """Return the classifications."""
        return ClassifyAnswer(tuple(results), counts)


class Classify(Labelled):
    """Labels of texts."""

    name = "classify"
    priority = 20
    task = ServedTask.CLASSIFY
    takes = (ClassifyRequest,)
    required = (("text",), ("scores",))

    def columns(self, model: ServedModel, request: Labelling) -> Mapping[str, Sequence[str]]:
        """Return texts, or the two sides of pairs."""
        return columns_of(model, self.items(request), "text", "text_pair")


def _classification(
    model: ServedModel, scores: Sequence[float], best: Sequence[Any]
) -> Classification:
    labels = model.head.labels if model.head else ()
    names = labels or tuple(f"LABEL_{number}" for number in range(len(scores)))
    if len(names) != len(scores):
        raise misfit(model, f"{len(scores)} scores came for {len(names)} labels")
    values = dict(zip(names, map(float, scores), strict=True))
    label = text(best[0]) if len(best) else max(values, key=lambda name: values[name])
    return Classification(label, values)


dialect = Classify()
