"""Documents by relevance to a query, by the tensors of NVIDIA's NIM retriever.

``query`` and ``passage`` STRING → ``index`` INT32, ``logit`` FP32, ``score`` FP32 (ours, after the
activation) and ``token_count`` INT32, with the request parameter ``truncate``. Source: NVIDIA NeMo
Retriever text reranking NIM, gRPC reference.
"""

from __future__ import annotations

from collections.abc import Sequence

from trtbuild.signature.dialects.base import (
    Dialect,
    SchemaFacts,
    batches,
    column,
    misfit,
    parameters,
    required_rows,
    rows,
    texts_of,
    unable,
)
from trtbuild.signature.model import ServedModel, ServedTask
from trtbuild.signature.requests import (
    Ranked,
    RerankAnswer,
    RerankRequest,
    TaskAnswer,
    TaskRequest,
)
from trtbuild.wire.tensors import InferRequest, Outputs


class Rerank(Dialect):
    """A score for each pair of query and document."""

    name = "rerank"
    priority = 30
    required = (("query", "passage"), ())

    def recognize(self, facts: SchemaFacts) -> ServedTask | None:
        """Recognize a model by a pair of texts and a score."""
        pair = facts.inputs.issuperset(("query", "passage"))
        return ServedTask.RERANK if pair and facts.outputs & {"logit", "score"} else None

    def requests(self, model: ServedModel, request: TaskRequest) -> Sequence[InferRequest]:
        """Return requests with as many documents as the model accepts, each with the query."""
        if not isinstance(request, RerankRequest):
            raise unable(model, request)
        documents = texts_of(model, request.documents)
        asked = parameters(truncate=request.truncate.upper())
        made = []
        for part in batches(model, len(documents)):
            passages = documents[part]
            queries = column(model, "query", [request.query] * len(passages))
            made.append(InferRequest((queries, column(model, "passage", passages)), asked))
        return made

    def answer(
        self, model: ServedModel, request: TaskRequest, responses: Sequence[Outputs]
    ) -> TaskAnswer:
        """Return the results of all batches, best first."""
        if not isinstance(request, RerankRequest):
            raise unable(model, request)
        results: list[Ranked] = []
        counts: list[int] = []
        parts = batches(model, len(request.documents))
        for part, outputs in zip(parts, responses, strict=True):
            size = len(request.documents[part])
            results += _ranked(model, outputs, part.start, size)
            counts += [int(row[0]) for row in rows(model, outputs, "token_count", size) or ()]
        if sorted(one.index for one in results) != list(range(len(request.documents))):
            raise misfit(model, "'index' does not name each document once")
        results.sort(key=lambda one: (-one.score, one.index))
        return RerankAnswer(tuple(results[: request.top_n]), tuple(counts))


def _ranked(model: ServedModel, outputs: Outputs, start: int, size: int) -> list[Ranked]:
    """Return the rows of one response; without ``index`` in the order of the documents."""
    logits = rows(model, outputs, "logit", size)
    scores = rows(model, outputs, "score", size) or required_rows(model, outputs, "logit", size)
    order = rows(model, outputs, "index", size) or [[at] for at in range(size)]
    return [
        Ranked(
            start + int(order[at][0]),
            float(scores[at][0]),
            float(logits[at][0]) if logits else None,
        )
        for at in range(size)
    ]


dialect = Rerank()
