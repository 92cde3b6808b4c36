"""The ensemble and the BLS model around a TensorRT engine: an input for each sampling value.

Source: NVIDIA/TensorRT-LLM, triton_backend/all_models/inflight_batcher_llm, 1.2.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trtbuild.signature.dialects.base import SchemaFacts
from trtbuild.signature.model import ServedTask
from trtbuild.signature.requests import GenerateRequest
from trtbuild_dialects.generating import Generating

_NAMES = {"seed": "random_seed", "stop": "stop_words"}


class Ensemble(Generating):
    """Generated text."""

    name = "ensemble"
    priority = 20

    def recognize(self, facts: SchemaFacts) -> ServedTask | None:
        """Recognize a model by its input for the token limit."""
        limited = "max_tokens" in facts.inputs
        return ServedTask.GENERATE if limited and self.takes_text(facts) else None

    def spelled(self, request: GenerateRequest) -> Mapping[str, Any]:
        """Return sampling values under the engine's names."""
        return {_NAMES.get(name, name): value for name, value in request.sampling.given().items()}


dialect = Ensemble()
