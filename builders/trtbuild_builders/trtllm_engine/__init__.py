"""The ``trtllm-engine`` builder: TensorRT-LLM's compiled engines with in-flight batching."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trtbuild.modelspec import ModelSpec
from trtbuild.plan import EngineBuild, ModelEntry, Step
from trtbuild.recipe import ModelRecipe
from trtbuild.resources import template_dir
from trtbuild.toolchain import Toolchain
from trtbuild_builders.trtllm_engine import build
from trtbuild_builders.trtllm_engine.deployment import Deployment
from trtbuild_builders.trtllm_engine.reasons import reasons
from trtbuild_builders.trtllm_engine.repository import entries
from trtbuild_builders.trtllm_engine.settings import Settings, resolve, windows
from trtbuild_engine_flow.engineconfig import EngineConfig

__all__ = ["TrtllmEngineBuilder", "builder"]


class TrtllmEngineBuilder:
    """Compiles an engine on a GPU and writes the ensemble of models around it."""

    name = "trtllm-engine"
    summary = "A TensorRT engine compiled for one GPU, with in-flight batching"
    priority = 10

    def reasons_unsupported(
        self, spec: ModelSpec, recipe: ModelRecipe, toolchain: Toolchain
    ) -> Sequence[str]:
        """All reasons against it, each with its mend."""
        return reasons(spec, recipe, toolchain)

    def image(self, toolchain: Toolchain) -> str:
        """The ``-trtllm-python-py3`` image of the release, which builds and serves."""
        return toolchain.trtllm_image

    def steps(self, spec: ModelSpec, recipe: ModelRecipe, toolchain: Toolchain) -> Sequence[Step]:
        """What will be done. Raises RecipeError for a wrong setting."""
        settings = resolve(spec, recipe, toolchain)
        if recipe.engine_dir:
            first = [Step("engine", "Take the engine that is there")]
        else:
            first = [_convert_step(settings), _build_step(settings, toolchain, recipe.build)]
        names = ", ".join(entry.name for entry in self.models(spec, recipe, toolchain))
        return (*first, Step("repository", f"Write {names}"))

    def models(
        self, spec: ModelSpec, recipe: ModelRecipe, toolchain: Toolchain
    ) -> Sequence[ModelEntry]:
        """The directories for the engine that would be compiled."""
        engine = self.engine_expected(spec, recipe, toolchain)
        return self.models_of(spec, recipe, toolchain, engine)

    def engine_build(
        self, spec: ModelSpec, recipe: ModelRecipe, toolchain: Toolchain
    ) -> EngineBuild:
        """How the engine is compiled. Raises RecipeError for a wrong setting."""
        return build.engine_build(spec, resolve(spec, recipe, toolchain), toolchain)

    def engine_expected(
        self, spec: ModelSpec, recipe: ModelRecipe, toolchain: Toolchain
    ) -> EngineConfig:
        """The engine that would be compiled."""
        return build.expected(spec, self.engine_build(spec, recipe, toolchain))

    def models_of(
        self, spec: ModelSpec, recipe: ModelRecipe, toolchain: Toolchain, engine: EngineConfig
    ) -> Sequence[ModelEntry]:
        """The directories for an engine. Raises RecipeError for what it was not built for."""
        if not recipe.name:
            raise ValueError("the recipe has no model name yet")
        settings = resolve(spec, recipe, toolchain)
        return entries(Deployment(spec, recipe, toolchain, settings, engine))

    def warnings(self, spec: ModelSpec, recipe: ModelRecipe, toolchain: Toolchain) -> Sequence[str]:
        """What an engine does otherwise than the checkpoint. Raises RecipeError."""
        if recipe.engine_dir:
            return ()
        return windows(spec, resolve(spec, recipe, toolchain))

    def templates(self) -> Path:
        """The folder of the engine's tensors, profiles and families."""
        return template_dir("trtllm_engine")

    def server_args(self, recipe: ModelRecipe) -> Sequence[str]:  # noqa: ARG002
        """None: what a leader or an orchestrator needs is the launcher's business."""
        return ()


def _convert_step(settings: Settings) -> Step:
    ranks = settings.tp * settings.pp
    shape = f"tp{settings.tp} pp{settings.pp}: {ranks} rank{'s' * (ranks > 1)}"
    return Step("convert", f"Convert to a {settings.dtype} TensorRT-LLM checkpoint ({shape})")


def _build_step(settings: Settings, tools: Toolchain, now: bool) -> Step:
    sizes = ", ".join(
        f"{name} {settings.build[name]}"
        for name in ("max_batch_size", "max_input_len", "max_num_tokens", "max_beam_width")
    )
    told = f"trtllm-build of TensorRT-LLM {tools.trtllm} ({sizes})"
    title = f"Compile the engine on a GPU with {told}" if now else f"Leave for later: {told}"
    return Step("build", title)


builder = TrtllmEngineBuilder()
