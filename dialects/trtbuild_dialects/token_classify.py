"""Labelled parts of texts: names, places, personal data.

``text`` STRING → ``entities`` STRING (a JSON list for each text), ``scores`` FP32 [-1, labels]
(one row a token, padded with zeros; a client may leave it out) and ``token_count`` INT32, with the
request parameters ``truncate`` and ``aggregation``. An entity has the keys of transformers'
pipeline: ``entity_group``, ``score``, ``word``, ``start``, ``end``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from trtbuild.signature.dialects.base import misfit, required_rows, text
from trtbuild.signature.model import ServedModel, ServedTask
from trtbuild.signature.requests import (
    Entity,
    TaskAnswer,
    TokenClassifyAnswer,
    TokenClassifyRequest,
)
from trtbuild.wire.tensors import Outputs, Parameter
from trtbuild_dialects.batched import Batched, Matrix, matrices

_Found = tuple[Entity, ...]


class TokenClassify(Batched[TokenClassifyRequest, tuple[_Found, Matrix]]):
    """Entities of texts."""

    name = "token-classify"
    priority = 30  # above classify's, because it may send scores, too
    task = ServedTask.TOKEN_CLASSIFY
    takes = (TokenClassifyRequest,)
    required = (("text",), ("entities",))

    def options(
        self, model: ServedModel, request: TokenClassifyRequest
    ) -> Mapping[str, Parameter | None]:
        """Return the parameters of the task."""
        return {
            **super().options(model, request),
            "aggregation": request.aggregation,
            "raw_scores": request.raw_scores,
        }

    def read(
        self, model: ServedModel, request: TokenClassifyRequest, part: slice, outputs: Outputs
    ) -> Sequence[tuple[_Found, Matrix]]:
        """Return the entities of each text, and the scores of its tokens if they are requested."""
        found = required_rows(model, outputs, "entities", part.stop - part.start)
        scored = request.raw_scores and "scores" in outputs
        scores = matrices(model, outputs, "scores", part, ("token_count",)) if scored else ()
        return [
            (_entities(model, text(row[0])), scores[at] if scores else ())
            for at, row in enumerate(found)
        ]

    def collect(
        self,
        model: ServedModel,
        request: TokenClassifyRequest,
        results: Sequence[tuple[_Found, Matrix]],
        counts: tuple[int, ...],
    ) -> TaskAnswer:
        """Return the entities."""
        scores = tuple(one for _, one in results)
        return TokenClassifyAnswer(
            tuple(found for found, _ in results), counts, scores if any(scores) else ()
        )


def _entities(model: ServedModel, said: str) -> _Found:
    try:
        return tuple(_entity(row) for row in json.loads(said))
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        raise misfit(model, "'entities' is not the JSON list of a text's entities") from None


def _entity(row: Mapping[str, Any]) -> Entity:
    label = row["entity_group"] if "entity_group" in row else row["entity"]
    start, end = int(row["start"]), int(row["end"])
    return Entity(str(label), float(row["score"]), str(row.get("word", "")), start, end)


dialect = TokenClassify()
