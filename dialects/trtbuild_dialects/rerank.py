"""Documents by relevance to a query, by the tensors of NVIDIA's NIM retriever.

``query`` and ``passage`` STRING → ``index`` INT32, ``logit`` FP32, ``score`` FP32 (ours, after the
activation) and ``token_count`` INT32, with the request parameter ``truncate``. Source: NVIDIA NeMo
Retriever text reranking NIM, gRPC reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trtbuild.signature.dialects.base import (
    SchemaFacts,
    columns_of,
    misfit,
    required_rows,
    rows,
)
from trtbuild.signature.model import ServedModel, ServedTask
from trtbuild.signature.requests import (
    Pair,
    Ranked,
    RerankAnswer,
    RerankRequest,
    ScoreAnswer,
    ScoreRequest,
    TaskAnswer,
)
from trtbuild.wire.tensors import Outputs
from trtbuild_dialects.batched import Batched


class Rerank(Batched[RerankRequest | ScoreRequest, Ranked]):
    """A score for each pair of query and document."""

    name = "rerank"
    priority = 30
    task = ServedTask.RERANK
    takes = (RerankRequest, ScoreRequest)
    required: tuple[tuple[str, ...], tuple[str, ...]] = (("query", "passage"), ())
    pair = ("query", "passage")

    def recognize(self, facts: SchemaFacts) -> ServedTask | None:
        """Recognize a model by a pair of texts and a score."""
        return super().recognize(facts) if facts.outputs & {"logit", "score"} else None

    def items(self, request: RerankRequest | ScoreRequest) -> Sequence[str | Pair]:
        """Return pairs, or single texts to score."""
        if isinstance(request, RerankRequest):
            return [(request.query, document) for document in request.documents]
        return request.inputs

    def columns(
        self, model: ServedModel, request: RerankRequest | ScoreRequest
    ) -> Mapping[str, Sequence[str]]:
        """Return queries and documents."""
        return columns_of(model, self.items(request), *self.pair)

    def read(
        self,
        model: ServedModel,
        request: RerankRequest | ScoreRequest,
        part: slice,
        outputs: Outputs,
    ) -> Sequence[Ranked]:
        """Return the rows of one response; without ``index`` in the order of the items."""
        size = part.stop - part.start
        logits = rows(model, outputs, "logit", size)
        scores = rows(model, outputs, "score", size) or required_rows(model, outputs, "logit", size)
        order = rows(model, outputs, "index", size) or [[at] for at in range(size)]
        return [
            Ranked(
                part.start + int(order[at][0]),
                float(scores[at][0]),
                float(logits[at][0]) if logits else None,
            )
            for at in range(size)
        ]

    def collect(
        self,
        model: ServedModel,
        request: RerankRequest | ScoreRequest,
        results: Sequence[Ranked],
        counts: tuple[int, ...],
    ) -> TaskAnswer:
        """Return the documents best first, or scores in the order of the request."""
        placed = sorted(results, key=lambda one: one.index)
        if [one.index for one in placed] != list(range(len(placed))):
            raise misfit(model, "'index' does not name each document once")
        if isinstance(request, ScoreRequest):
            return ScoreAnswer(tuple(placed), counts)
        placed.sort(key=lambda one: -one.score)
        return RerankAnswer(tuple(placed[: request.top_n]), counts)


dialect = Rerank()
