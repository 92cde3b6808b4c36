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
from trtbuild.signature.dialects.batched import Batched
from trtbuild.signature.model import ServedModel, ServedTask
from trtbuild.signature.requests import (
    Entity,
    TaskAnswer,
    TokenClassifyAnswer,
    TokenClassifyRequest,
)
from trtbuild.wire.tensors import Outputs, Parameter

_Found = tuple[Entity, ...]


class TokenClassify(Batched[TokenClassifyRequest, _Found]):
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
        return {**super().options(model, request), "aggregation": request.aggregation}

    def read(
        self, model: ServedModel, request: TokenClassifyRequest, part: slice, outputs: Outputs
    ) -> Sequence[_Found]:
        """Return the entities of each text."""
        found = required_rows(model, outputs, "entities", part.stop - part.start)
        return [_entities(model, text(row[0])) for row in found]

    def collect(
        self,
        model: ServedModel,
        request: TokenClassifyRequest,
        results: Sequence[_Found],
        counts: tuple[int, ...],
    ) -> TaskAnswer:
        """Return the entities."""
        return TokenClassifyAnswer(tuple(results), counts)


def _entities(model: ServedModel, said: str) -> _Found:
    try:
        return tuple(_entity(row) for row in json.loads(said))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise misfit(model, "'entities' is not the JSON list of a text's entities") from None


def _entity(row: Mapping[str, Any]) -> Entity:
    label = row["entity_group"] if "entity_group" in row else row["entity"]
    start, end = int(row["start"]), int(row["end"])
    return Entity(str(label), float(row["score"]), str(row.get("word", "")), start, end)


dialect = TokenClassify()
