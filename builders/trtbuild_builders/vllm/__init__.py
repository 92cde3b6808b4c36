"""The ``vllm`` builder: a model directory for NVIDIA's vLLM backend (and for our own)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from trtbuild.builder import Builder, Case
from trtbuild.checkpoint import Adapter
from trtbuild.modelspec import ModelSpec
from trtbuild.plan import Demand, MemoryPlan, ModelEntry, Step, WeightsDir
from trtbuild.recipe import ModelRecipe, engine_support
from trtbuild.signature import ServedModel
from trtbuild.toolchain import Toolchain, engine_arguments
from trtbuild_builders.common import require_image, told
from trtbuild_builders.memory import plan_memory
from trtbuild_builders.text.frontend import frontend_reasons
from trtbuild_builders.vllm.adapters import require_fit, with_adapter_rank
from trtbuild_builders.vllm.config import config_file
from trtbuild_builders.vllm.engine import adapter_files, engine_settings, model_file
from trtbuild_builders.vllm.gpus import gpu_reasons, own_warnings
from trtbuild_builders.vllm.pooler import kept_dtype
from trtbuild_builders.vllm.reasons import reasons
from trtbuild_builders.vllm.vision import family_warnings

__all__ = ["VllmBuilder", "builder"]


class VllmBuilder(Builder):
    """Serves the unchanged checkpoint with vLLM; nothing is compiled or converted."""

    name = "vllm"
    summary = "The checkpoint as it is, served by vLLM: the widest choice of models"
    priority = 50
    takes = frozenset({"engine", "weights", "adapters", "metrics", "health_check", "contract"})

    def reasons_unsupported(self, case: Case) -> Sequence[str]:
        """Return all reasons against it, each with its fix."""
        return (*reasons(case), *frontend_reasons(case))

    def image(self, toolchain: Toolchain) -> str:
        """Return the ``-vllm-python-py3`` image of the release."""
        return toolchain.vllm_image

    def steps(self, case: Case) -> Sequence[Step]:
        """Return the steps. Raises RecipeError for an invalid engine argument."""
        spec, recipe, toolchain = case.spec, case.recipe, case.toolchain
        settings = engine_settings(spec, recipe, toolchain)
        steps = [_weights_step(spec, recipe)]
        steps += [
            Step("adapter", f"Place the adapter {name!r} under 1/adapters/{name}")
            for name in recipe.adapters
        ]
        given = ", ".join(sorted(settings.keys() - {"model"})) or "defaults only"
        return (
            *steps,
            Step("engine", f"Write 1/model.json for vLLM {toolchain.vllm} ({given})"),
            Step("config", "Write config.pbtxt with every tensor of the backend, decoupled"),
        )

    def completed(self, case: Case) -> ModelRecipe:
        """Return the recipe with ``max_lora_rank`` if a local adapter needs it."""
        return with_adapter_rank(case.recipe, case.toolchain)

    def require_adapters(self, case: Case, adapters: Sequence[Adapter]) -> None:
        """Raise UnsupportedError for what vLLM notices only when a request names an adapter."""
        require_fit(case, adapters)

    def models(self, case: Case) -> Sequence[ModelEntry]:
        """Return one directory. Raises RecipeError for an invalid engine argument."""
        recipe = case.recipe
        if not recipe.name:
            raise ValueError("the recipe has no model name yet")
        weights = [WeightsDir("1/weights")] if recipe.weights == "copy" else []
        weights += [WeightsDir(f"1/adapters/{name}", name) for name in recipe.adapters]
        files = (
            config_file(recipe, case.toolchain),
            model_file(case.spec, recipe, case.toolchain),
            *adapter_files(recipe),
        )
        return (ModelEntry(recipe.name, files, tuple(weights)),)

    def arguments(self, toolchain: Toolchain) -> Sequence[Mapping[str, Any]]:
        """Return vLLM's engine arguments."""
        require_image(toolchain, toolchain.vllm, "vLLM")
        return [asdict(one) for one in engine_arguments(toolchain.vllm).values()]

    def warnings(self, case: Case) -> Sequence[str]:
        """Warn about what runs worse than expected, and how the checkpoint is loaded."""
        support = engine_support(case.spec, case.toolchain, case.toolchain.vllm_image)
        return (
            *own_warnings(case),
            *family_warnings(case),
            *told(case.spec, case.recipe, support),
        )

    def reasons_against_gpu(self, case: Case) -> Sequence[str]:
        """Return what vLLM's kernels do not support on the GPU."""
        return tuple(gpu_reasons(case))

    def memory(self, case: Case, demand: Demand) -> MemoryPlan:
        """Estimate with vLLM's own accounting."""
        arguments = {**kept_dtype(case.spec), **case.recipe.engine}
        return plan_memory(case.spec, case.toolchain, case.target, demand, arguments=arguments)

    def signature(self, case: Case) -> ServedModel:
        """Return the card, with the images that a request may have."""
        card = super().signature(case)
        if card.vision is None:
            return card
        settings = engine_settings(case.spec, case.recipe, case.toolchain)
        limits = settings.get("limit_mm_per_prompt")
        images = limits.get("image") if isinstance(limits, dict) else None
        return replace(card, vision=replace(card.vision, images=images or 0))

    def versions(self, case: Case) -> Mapping[str, str]:
        """Return vLLM's version in the serving image."""
        return {"vllm": case.toolchain.vllm}


def _weights_step(spec: ModelSpec, recipe: ModelRecipe) -> Step:
    source = spec.source
    if recipe.weights == "hub":
        return Step("weights", f"Leave the weights on the hub: {source.text} at {source.commit}")
    converted = source.kind in {"gguf", "sample"}
    how = f"Convert to {spec.dtype} safetensors, then clone" if converted else "Clone"
    return Step("weights", f"{how} the checkpoint's files into 1/weights")


builder = VllmBuilder()
