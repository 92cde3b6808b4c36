"""The ``trtllm-engine`` builder: TensorRT-LLM's compiled engines with in-flight batching."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trtbuild.builder import Artifact, Builder, Case
from trtbuild.plan import Demand, MemoryPlan, ModelEntry, Step
from trtbuild.recipe import ModelRecipe
from trtbuild.toolchain import BLS_FIXED, Toolchain
from trtbuild_builders.gpus import interconnect, precision, tensorrt_llm_reasons
from trtbuild_builders.memory import Names, plan_memory
from trtbuild_engine_flow import engineconfig
from trtbuild_engine_flow.builder import build
from trtbuild_engine_flow.builder.deployment import EngineDeployment
from trtbuild_engine_flow.builder.reasons import reasons
from trtbuild_engine_flow.builder.repository import entries
from trtbuild_engine_flow.builder.settings import EngineSettings, resolve, windows
from trtbuild_engine_flow.engineconfig import EngineConfig
from trtbuild_engine_flow.engines.artifact import ENGINE, engine_artifact, predicted
from trtbuild_engine_flow.engines.compiling import image_converts
from trtbuild_engine_flow.executor import EngineBuild
from trtbuild_engine_flow.parameters import listed
from trtbuild_engine_flow.resources import template_dir

__all__ = ["TrtllmEngineBuilder", "builder"]

_DEFAULT_SHARE = 0.9  # the backend's own
_MEMORY_NAMES = Names(
    length="max_seq_len",
    sequences="max_batch_size",
    cache_type="",
    quantization="",
    four_bit=False,  # engines are compiled from plain weights
)


class TrtllmEngineBuilder(Builder):
    """Compiles an engine on a GPU and writes the ensemble of models around it."""

    name = "trtllm-engine"
    summary = "A TensorRT engine compiled for one GPU, with in-flight batching"
    priority = 10
    takes = frozenset({"engine", "engine_dir", "build"})

    def reasons_unsupported(self, case: Case) -> Sequence[str]:
        """Return all reasons against it, each with its fix."""
        return reasons(case.spec, case.recipe, case.toolchain)

    def image(self, toolchain: Toolchain) -> str:
        """Return the ``-trtllm-python-py3`` image of the release, which builds and serves."""
        return toolchain.trtllm_image

    def steps(self, case: Case) -> Sequence[Step]:
        """Return the steps. Raises RecipeError for an invalid setting."""
        recipe, toolchain = case.recipe, case.toolchain
        settings = resolve(case.spec, recipe, toolchain)
        if recipe.engine_dir:
            first = [Step("engine", "Take the engine that is there")]
        else:
            first = [
                self._convert_step(case, settings),
                _build_step(settings, toolchain, recipe.build),
            ]
        names = ", ".join(entry.name for entry in self.models(case))
        return (*first, Step("repository", f"Write {names}"))

    def _convert_step(self, case: Case, settings: EngineSettings) -> Step:
        ranks = settings.tp * settings.pp
        shape = f"tp{settings.tp} pp{settings.pp}: {ranks} rank{'s' * (ranks > 1)}"
        title = f"Convert to a {settings.dtype} TensorRT-LLM checkpoint ({shape})"
        how = self.engine_build(case)
        if reasons := image_converts(case, how):
            title += f" with TensorRT-LLM's own converter ({how.family}), because {reasons[0]}"
        return Step("convert", title)

    def artifacts(self, case: Case) -> Sequence[Artifact]:
        """Return the engine. Raises RecipeError for an invalid setting."""
        image = self.image(case.toolchain)
        return (engine_artifact(case, lambda: self.engine_build(case), image),)

    def models(self, case: Case) -> Sequence[ModelEntry]:
        """Return the directories, for the existing engine or the one that would be compiled.

        Raises RecipeError for an invalid setting, and for one that the engine does not support.
        """
        if not case.recipe.name:
            raise ValueError("the recipe has no model name yet")
        settings = resolve(case.spec, case.recipe, case.toolchain)
        engine = self._engine(case)
        return entries(EngineDeployment(case, settings, engine))

    def _engine(self, case: Case) -> EngineConfig:
        if made := case.artifacts.get(ENGINE):
            return engineconfig.read(made.folder)
        return predicted(case, self.engine_build(case), self.engine_expected(case))

    def engine_build(self, case: Case) -> EngineBuild:
        """Return how the engine is compiled. Raises RecipeError for an invalid setting."""
        settings = resolve(case.spec, case.recipe, case.toolchain)
        return build.engine_build(case.spec, settings, case.toolchain)

    def engine_expected(self, case: Case) -> EngineConfig:
        """Return the engine that would be compiled."""
        return build.expected(case.spec, self.engine_build(case))

    def arguments(self, toolchain: Toolchain) -> Sequence[Mapping[str, Any]]:
        """Return options of ``trtllm-build``, and parameters of the models around the engine."""
        return listed(toolchain)

    def warnings(self, case: Case) -> Sequence[str]:
        """Warn where an engine differs from the checkpoint. Raises RecipeError."""
        found = [*interconnect(case), *_bls(case.recipe, case.toolchain)]
        if not case.recipe.engine_dir:
            settings = resolve(case.spec, case.recipe, case.toolchain)
            found += [*precision(case), *windows(case.spec, settings)]
        return found

    def reasons_against_gpu(self, case: Case) -> Sequence[str]:
        """Return what TensorRT-LLM's kernels do not support on the GPU."""
        return tuple(tensorrt_llm_reasons(case))

    def memory(self, case: Case, demand: Demand) -> MemoryPlan:
        """Estimate with vLLM's accounting and the limits of the engine."""
        engine = self.engine_expected(case)
        share = case.recipe.engine.get("kv_cache_free_gpu_mem_fraction", _DEFAULT_SHARE)
        arguments = {
            "dtype": engine.dtype,
            "tensor_parallel_size": engine.tp,
            "pipeline_parallel_size": engine.pp,
            "max_model_len": engine.max_seq_len,
            "max_num_seqs": engine.max_batch_size,
            "max_num_batched_tokens": engine.max_num_tokens,
            "gpu_memory_utilization": share,
        }
        return plan_memory(
            case.spec,
            case.toolchain,
            case.target,
            demand,
            arguments=arguments,
            names=_MEMORY_NAMES,
        )

    def stand_ins(self) -> Mapping[str, Path]:
        """Return vLLM as the stand-in for the C++ backend."""
        return {"tensorrtllm": template_dir("rehearsal", "tensorrtllm")}

    def versions(self, case: Case) -> Mapping[str, str]:
        """Return TensorRT-LLM's version in the image that compiles and serves."""
        return {"tensorrt-llm": case.toolchain.trtllm}


def _bls(recipe: ModelRecipe, toolchain: Toolchain) -> Iterator[str]:
    if recipe.engine.get("bls") and toolchain.triton < BLS_FIXED:
        yield (
            f"the BLS model can hang under load before Triton {BLS_FIXED} "
            "(triton-inference-server/server#8882): let clients ask the ensemble, or use a newer "
            "--triton"
        )


def _build_step(settings: EngineSettings, tools: Toolchain, now: bool) -> Step:
    sizes = ", ".join(
        f"{name} {settings.build[name]}"
        for name in ("max_batch_size", "max_input_len", "max_num_tokens", "max_beam_width")
    )
    told = f"trtllm-build of TensorRT-LLM {tools.trtllm} ({sizes})"
    title = f"Compile the engine on a GPU with {told}" if now else f"Leave for later: {told}"
    return Step("build", title)


builder = TrtllmEngineBuilder()
