"""Sparse vectors of a batch of texts, such as SPLADE's.

``text`` STRING → ``indices`` INT32 [-1], ``values`` FP32 [-1] and ``token_count`` INT32, with the
request parameters of the schema ``embed``. Texts of a batch have different numbers of weights:
shorter rows end with index -1 and value 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trtbuild.signature.dialects.base import misfit, rows
from trtbuild.signature.model import ServedModel, ServedTask
from trtbuild.signature.requests import EmbedRequest, SparseAnswer, TaskAnswer
from trtbuild.wire.tensors import Outputs
from trtbuild_dialects.embed import Vectors

Weights = Mapping[int, float]


class Sparse(Vectors[Weights]):
    """Weights by vocabulary index for each text."""

    name = "sparse"
    priority = 25
    task = ServedTask.SPARSE
    required = (("text",), ("indices", "values"))

    def read(
        self, model: ServedModel, request: EmbedRequest, part: slice, outputs: Outputs
    ) -> Sequence[Weights]:
        """Return the weights of each row, without padding."""
        size = part.stop - part.start
        found = [rows(model, outputs, name, size) for name in self.required[1]]
        indices, values = (one if one is None else one or [()] * size for one in found)
        if indices is None or values is None or len(indices[0]) != len(values[0]):
            raise misfit(model, "'indices' and 'values' are missing or differ in size")
        return [
            {int(i): float(v) for i, v in zip(*pair, strict=True) if i >= 0}
            for pair in zip(indices, values, strict=True)
        ]

    def collect(
        self,
        model: ServedModel,
        request: EmbedRequest,
        results: Sequence[Weights],
        counts: tuple[int, ...],
    ) -> TaskAnswer:
        """Return the vectors."""
        return SparseAnswer(tuple(results), counts)


dialect = Sparse()
