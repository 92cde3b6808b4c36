"""The inputs for the configurations of one LLM's models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trtbuild.builder import Case
from trtbuild.modelspec import ModelSpec
from trtbuild.recipe import ModelRecipe
from trtbuild.toolchain import Toolchain
from trtbuild_engine_flow.builder.settings import EngineSettings
from trtbuild_engine_flow.engineconfig import EngineConfig

_TYPES = {"float32": "TYPE_FP32", "float16": "TYPE_FP16", "bfloat16": "TYPE_BF16"}


@dataclass(frozen=True, slots=True)
class EngineDeployment:
    """A checkpoint, a recipe with its settings, and the engine."""

    case: Case
    settings: EngineSettings
    engine: EngineConfig

    @property
    def spec(self) -> ModelSpec:
        """The checkpoint's spec."""
        return self.case.spec

    @property
    def recipe(self) -> ModelRecipe:
        """The recipe."""
        return self.case.recipe

    @property
    def tools(self) -> Toolchain:
        """The release that compiles and serves it."""
        return self.case.toolchain

    def name(self, part: str = "") -> str:
        """Return the model name of a part; the ensemble has the LLM's own name."""
        return f"{self.recipe.name}_{part}" if part else self.recipe.name

    @property
    def batch(self) -> int:
        """The number of requests that Triton may pass on at once."""
        return int(self.settings.triton.get("triton_max_batch_size", self.engine.max_batch_size))

    @property
    def decoupled(self) -> bool:
        """Whether a request may have several responses."""
        return bool(self.settings.triton.get("decoupled", True))

    @property
    def types(self) -> Mapping[str, str]:
        """The values of the placeholders in the tensor tables."""
        given = self.settings.triton
        logits = _TYPES.get(self.engine.logits_dtype, "TYPE_FP32")
        return {
            "LOGITS": given.get("logits_type", logits),
            "DTYPE": _TYPES.get(self.engine.dtype, "TYPE_FP16"),
            "ENCODER": given.get("encoder_input_features_type", "TYPE_FP16"),
        }

    @property
    def features(self) -> frozenset[str]:
        """The optional features of the engine or the recipe."""
        given, engine = self.settings.triton, self.engine
        has = {
            "lora": engine.lora,
            "draft": engine.speculative == "draft_tokens_external",
            "lookahead": engine.speculative == "lookahead_decoding",
            "prompt_table": engine.prompt_table > 0,
            "encoder": "encoder_model_path" in given,
            "guided": "guided_decoding_backend" in given,
        }
        return frozenset(name for name, there in has.items() if there)
