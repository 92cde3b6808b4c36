"""One number for each text or pair of texts: similarity, reward, relevance.

``text`` and, for pairs, ``text_pair`` STRING → ``score`` FP32, ``logit`` FP32 (before the
activation) and ``token_count`` INT32, with the request parameter ``truncate``. A model with both
inputs also ranks documents.
"""

from __future__ import annotations

from collections.abc import Mapping

from trtbuild.signature.model import ServedModel, ServedTask
from trtbuild.signature.requests import ScoreRequest, TaskRequest
from trtbuild_dialects.rerank import Rerank

_SINGLE = {"schema": "score-text"}


class Score(Rerank):
    """A score for each item."""

    name = "score"
    priority = 25
    task = ServedTask.SCORE
    required = (("text",), ("score",))
    pair = ("text", "text_pair")

    def client_values(self, model: ServedModel) -> Mapping[str, str]:
        """Return the function for pairs, or for texts."""
        single = model.input(self.pair[1]) is None
        return {**super().client_values(model), **(_SINGLE if single else {})}

    def example(self, model: ServedModel) -> TaskRequest:
        """Return a pair, or a text for a model without a second input."""
        pairs = model.input(self.pair[1]) is not None
        return ScoreRequest((("Hello", "Hello"),) if pairs else ("Hello",))


dialect = Score()
