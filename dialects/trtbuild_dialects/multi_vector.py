"""A vector for each token of a batch of texts (late interaction), such as ColBERT's.

``text`` STRING → ``token_embeddings`` FP32 [-1, dimension], ``vector_count`` INT32 and
``token_count`` INT32, with the request parameters of the schema ``embed``. Texts of a batch have
different numbers of vectors: shorter rows end with zeros, and ``vector_count`` says how many
vectors count. Without it ``token_count`` does, and without either all do.
"""

from __future__ import annotations

from collections.abc import Sequence

from trtbuild.signature.model import ServedModel, ServedTask
from trtbuild.signature.requests import EmbedRequest, MultiVectorAnswer, TaskAnswer
from trtbuild.wire.tensors import Outputs
from trtbuild_dialects.batched import matrices
from trtbuild_dialects.embed import Vector, Vectors

_NAME = "token_embeddings"


class MultiVector(Vectors[tuple[Vector, ...]]):
    """A vector for each token that counts."""

    name = "multi-vector"
    priority = 25
    task = ServedTask.MULTI_VECTOR
    required = (("text",), (_NAME,))

    def read(
        self, model: ServedModel, request: EmbedRequest, part: slice, outputs: Outputs
    ) -> Sequence[tuple[Vector, ...]]:
        """Return the vectors of each row, without padding."""
        return matrices(model, outputs, _NAME, part, ("vector_count", "token_count"))

    def collect(
        self,
        model: ServedModel,
        request: EmbedRequest,
        results: Sequence[tuple[Vector, ...]],
        counts: tuple[int, ...],
    ) -> TaskAnswer:
        """Return the vectors."""
        return MultiVectorAnswer(tuple(results), counts)


dialect = MultiVector()
