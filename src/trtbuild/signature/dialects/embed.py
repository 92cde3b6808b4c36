"""Vectors of a batch of texts, by the tensors of NVIDIA's NIM retriever.

``text`` STRING → ``embeddings`` FP32 [dimension], ``token_count`` INT32, with the request
parameters ``input_type``, ``truncate`` and ``dimensions``. Source: NVIDIA NeMo Retriever text
embedding NIM, gRPC reference.
"""

from __future__ import annotations

from collections.abc import Sequence

from trtbuild.signature.dialects.base import (
    Dialect,
    SchemaFacts,
    batches,
    column,
    parameters,
    required_rows,
    rows,
    texts_of,
    unable,
)
from trtbuild.signature.model import ServedModel, ServedTask
from trtbuild.signature.requests import EmbedAnswer, EmbedRequest, TaskAnswer, TaskRequest
from trtbuild.wire.tensors import InferRequest, Outputs


class Embed(Dialect):
    """Vectors."""

    name = "embed"
    priority = 30
    required = (("text",), ("embeddings",))

    def recognize(self, facts: SchemaFacts) -> ServedTask | None:
        """Recognize a model by both tensor names."""
        found = "text" in facts.inputs and "embeddings" in facts.outputs
        return ServedTask.EMBED if found else None

    def requests(self, model: ServedModel, request: TaskRequest) -> Sequence[InferRequest]:
        """Return requests with as many texts as the model accepts."""
        if not isinstance(request, EmbedRequest):
            raise unable(model, request)
        texts = texts_of(model, request.inputs)
        asked = parameters(
            input_type=request.input_type,
            truncate=request.truncate.upper(),
            dimensions=request.dimensions,
        )
        return [
            InferRequest((column(model, "text", texts[part]),), asked)
            for part in batches(model, len(texts))
        ]

    def answer(
        self, model: ServedModel, request: TaskRequest, responses: Sequence[Outputs]
    ) -> TaskAnswer:
        """Return the answer: a row of ``embeddings`` for each text."""
        if not isinstance(request, EmbedRequest):
            raise unable(model, request)
        vectors: list[tuple[float, ...]] = []
        counts: list[int] = []
        parts = batches(model, len(request.inputs))
        for part, outputs in zip(parts, responses, strict=True):
            size = len(request.inputs[part])
            found = required_rows(model, outputs, "embeddings", size)
            vectors += [tuple(map(float, row)) for row in found]
            counts += [int(row[0]) for row in rows(model, outputs, "token_count", size) or ()]
        return EmbedAnswer(tuple(vectors), tuple(counts))


dialect = Embed()
