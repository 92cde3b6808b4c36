"""Labels of texts or of pairs of texts.

``text`` and, for pairs, ``text_pair`` STRING → ``scores`` FP32 [labels] and ``label`` STRING, with
the request parameters ``truncate`` and ``raw_scores``. Label names come from the served
model's description; without it they are ``LABEL_0`` and so on, as in transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trtbuild.errors import UsageError
from trtbuild.signature.dialects.base import (
    Dialect,
    SchemaFacts,
    batches,
    column,
    misfit,
    parameters,
    required_rows,
    rows,
    text,
    texts_of,
    unable,
)
from trtbuild.signature.model import ServedModel, ServedTask
from trtbuild.signature.requests import (
    Classification,
    ClassifyAnswer,
    ClassifyRequest,
    TaskAnswer,
    TaskRequest,
)
from trtbuild.wire.tensors import InferRequest, Outputs

_PAIR = "text_pair"


class Classify(Dialect):
    """A score for each label."""

    name = "classify"
    priority = 20
    required = (("text",), ("scores",))

    def recognize(self, facts: SchemaFacts) -> ServedTask | None:
        """Recognize a model by its text input and scores."""
        found = "text" in facts.inputs and "scores" in facts.outputs
        return ServedTask.CLASSIFY if found else None

    def requests(self, model: ServedModel, request: TaskRequest) -> Sequence[InferRequest]:
        """Return requests with as many texts as the model accepts."""
        if not isinstance(request, ClassifyRequest):
            raise unable(model, request)
        columns = _columns(model, request)
        asked = parameters(truncate=request.truncate.upper(), raw_scores=request.raw_scores)
        return [
            InferRequest(
                tuple(column(model, name, values[part]) for name, values in columns.items()), asked
            )
            for part in batches(model, len(request.inputs))
        ]

    def answer(
        self, model: ServedModel, request: TaskRequest, responses: Sequence[Outputs]
    ) -> TaskAnswer:
        """Return the answer: a row of ``scores`` for each text."""
        if not isinstance(request, ClassifyRequest):
            raise unable(model, request)
        results: list[Classification] = []
        parts = batches(model, len(request.inputs))
        for part, outputs in zip(parts, responses, strict=True):
            size = len(request.inputs[part])
            scores = required_rows(model, outputs, "scores", size)
            best = rows(model, outputs, "label", size) or [()] * size
            results += map(_classification, [model] * size, scores, best)
        return ClassifyAnswer(tuple(results))


def _columns(model: ServedModel, request: ClassifyRequest) -> dict[str, list[str]]:
    """Return inputs by tensor: texts, or the two sides of pairs."""
    if not any(isinstance(item, tuple) for item in request.inputs):
        return {"text": texts_of(model, request.inputs)}
    if model.input(_PAIR) is None or not all(isinstance(item, tuple) for item in request.inputs):
        raise UsageError(
            f"{model.name!r} takes no pairs of texts"
            if model.input(_PAIR) is None
            else "some inputs are pairs of texts and some are single texts",
            fix="send single texts" if model.input(_PAIR) is None else "send one kind at a time",
        )
    return {
        "text": texts_of(model, [item[0] for item in request.inputs]),
        _PAIR: texts_of(model, [item[1] for item in request.inputs]),
    }


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
