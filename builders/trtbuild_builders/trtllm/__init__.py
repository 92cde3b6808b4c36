"""The ``trtllm`` builder: a model of TensorRT-LLM's LLM API, its own ``model.py`` included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trtbuild.builder import Builder, Case
from trtbuild.modelspec import ModelSpec
from trtbuild.plan import Demand, MemoryPlan, ModelEntry, Step, WeightsDir
from trtbuild.recipe import ModelRecipe, engine_support
from trtbuild.toolchain import TRTLLM_LEAST_SM, Route, Toolchain, trtllm_route
from trtbuild_builders.common import told
from trtbuild_builders.gpus import interconnect, precision, tensorrt_llm_reasons
from trtbuild_builders.memory import plan_memory
from trtbuild_builders.trtllm.arguments import listed, llm_settings, triton_settings
from trtbuild_builders.trtllm.memory import MEMORY_NAMES, memory_arguments
from trtbuild_builders.trtllm.reasons import reasons
from trtbuild_builders.trtllm.repository import config_file, model_files, yaml_file

__all__ = ["TrtllmBuilder", "builder"]


class TrtllmBuilder(Builder):
    """Serves the unchanged checkpoint with TensorRT-LLM's PyTorch backend; compiles no engine."""

    name = "trtllm"
    summary = "The checkpoint as it is, served by TensorRT-LLM's LLM API (PyTorch backend)"
    # Below vllm's 50, except for formats that TensorRT-LLM's kernels are made for.
    priority = 40
    takes = frozenset({"engine", "weights", "adapters", "metrics"})
    _PREFERRED = 60
    _UNABLE = 0

    def preference(self, case: Case) -> int:
        """Prefer this builder for ModelOpt, FP8, NVFP4 and MXFP4, on a GPU that supports them."""
        route, gpu_sm = _route(case.spec), case.target.sm
        able = gpu_sm >= TRTLLM_LEAST_SM and (route is None or gpu_sm in route.sm)
        if gpu_sm and not able:
            return self._UNABLE
        return self._PREFERRED if route and route.preferred else self.priority

    def reasons_unsupported(self, case: Case) -> Sequence[str]:
        """Return all reasons against it, each with its fix."""
        return reasons(case.spec, case.recipe, case.toolchain)

    def image(self, toolchain: Toolchain) -> str:
        """Return the ``-trtllm-python-py3`` image of the release."""
        return toolchain.trtllm_image

    def steps(self, case: Case) -> Sequence[Step]:
        """Return the steps. Raises RecipeError for an invalid argument of LLM()."""
        spec, recipe, toolchain = case.spec, case.recipe, case.toolchain
        settings = llm_settings(spec, recipe, toolchain)
        given = ", ".join(sorted(settings.keys() - {"model"}))
        route = _route(spec)
        kept = f" ({route.algorithm})" if route else ""
        return (
            Step("weights", f"{_weights(spec, recipe)}{kept}"),
            *(
                Step("adapter", f"Place the adapter {name!r} under 1/adapters/{name}")
                for name in recipe.adapters
            ),
            Step("model", "Copy model.py and its modules, so that nothing outside is needed"),
            Step("engine", f"Write 1/model.yaml for TensorRT-LLM {toolchain.trtllm} ({given})"),
            Step("config", "Write config.pbtxt with every tensor and the decoupled policy"),
        )

    def models(self, case: Case) -> Sequence[ModelEntry]:
        """Return one directory. Raises RecipeError for an invalid argument of LLM()."""
        spec, recipe, toolchain = case.spec, case.recipe, case.toolchain
        if not recipe.name:
            raise ValueError("the recipe has no model name yet")
        llm, triton = llm_settings(spec, recipe, toolchain), triton_settings(recipe)
        weights = [WeightsDir("1/weights")] if recipe.weights == "copy" else []
        weights += [WeightsDir(f"1/adapters/{name}", name) for name in recipe.adapters]
        files = (config_file(recipe, toolchain, triton), yaml_file(llm, triton), *model_files())
        return (ModelEntry(recipe.name, files, tuple(weights)),)

    def arguments(self, toolchain: Toolchain) -> Sequence[Mapping[str, Any]]:
        """Return the arguments of ``LLM()``."""
        return listed(toolchain)

    def warnings(self, case: Case) -> Sequence[str]:
        """Warn about what runs worse than expected, and how the checkpoint is loaded."""
        support = engine_support(case.spec, case.toolchain, case.toolchain.trtllm_image)
        own = (*precision(case), *interconnect(case))
        return (*own, *told(case.spec, case.recipe, support))

    def reasons_against_gpu(self, case: Case) -> Sequence[str]:
        """Return what TensorRT-LLM's kernels do not support on the GPU."""
        return tuple(tensorrt_llm_reasons(case))

    def memory(self, case: Case, demand: Demand) -> MemoryPlan:
        """Estimate with vLLM's accounting, and the defaults of TorchLlmArgs and KvCacheConfig."""
        return plan_memory(
            case.spec,
            case.toolchain,
            case.target,
            demand,
            arguments=memory_arguments(case.recipe.engine),
            names=MEMORY_NAMES,
        )

    def versions(self, case: Case) -> Mapping[str, str]:
        """Return TensorRT-LLM's version in the serving image."""
        return {"tensorrt-llm": case.toolchain.trtllm}


def _route(spec: ModelSpec) -> Route | None:
    """Return how a quantised checkpoint is loaded."""
    found = spec.quantization
    return trtllm_route(found.method, found.detail) if found else None


def _weights(spec: ModelSpec, recipe: ModelRecipe) -> str:
    source = spec.source
    if recipe.weights == "hub":
        return f"Leave the weights on the hub: {source.text} at {source.commit}"
    converted = source.kind in {"gguf", "sample"}
    how = f"Convert to {spec.dtype} safetensors, then clone" if converted else "Clone"
    return f"{how} the checkpoint's files into 1/weights"


builder = TrtllmBuilder()
