"""Vectors of a batch of texts, by the tensors of NVIDIA's NIM retriever.

``text`` STRING → ``embeddings`` FP32 [dimension], ``token_count`` INT32, with the request
parameters ``input_type``, ``truncate``, ``dimensions``, ``embedding_type`` and our ``prompt_name``.
Numbers of another ``embedding_type`` are sent as FP32, too. Source: NVIDIA NeMo Retriever text
embedding NIM, gRPC reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trtbuild.signature.dialects.base import required_rows
from trtbuild.signature.model import ServedModel, ServedTask
from trtbuild.signature.requests import EmbedAnswer, EmbedRequest, TaskAnswer
from trtbuild.wire.tensors import Outputs, Parameter
from trtbuild_dialects.batched import Batched, Row

Vector = tuple[float, ...]


class Vectors(Batched[EmbedRequest, Row]):
    """The request of every model that answers with vectors."""

    takes = (EmbedRequest,)

    def options(self, model: ServedModel, request: EmbedRequest) -> Mapping[str, Parameter | None]:
        """Return the parameters of NIM and ``prompt_name``."""
        return {
            "input_type": request.input_type,
            "truncate": request.truncate.upper(),
            "dimensions": request.dimensions,
            "embedding_type": request.embedding_type,
            "prompt_name": request.prompt_name,
        }


class Embed(Vectors[Vector]):
    """A dense vector for each text."""

    name = "embed"
    priority = 30
    task = ServedTask.EMBED
    required = (("text",), ("embeddings",))

    def read(
        self, model: ServedModel, request: EmbedRequest, part: slice, outputs: Outputs
    ) -> Sequence[Vector]:
        """Return the rows of ``embeddings``."""
        found = required_rows(model, outputs, "embeddings", part.stop - part.start)
        return [tuple(map(float, row)) for row in found]

    def collect(
        self,
        model: ServedModel,
        request: EmbedRequest,
        results: Sequence[Vector],
        counts: tuple[int, ...],
    ) -> TaskAnswer:
        """Return the vectors."""
        return EmbedAnswer(tuple(results), counts)


dialect = Embed()
