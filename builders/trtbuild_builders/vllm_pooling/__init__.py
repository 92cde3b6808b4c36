"""The ``vllm-pooling`` builder: vLLM's pooling behind a model of ours, with true tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from trtbuild import pbtxt
from trtbuild.builder import Artifact, Builder, Case
from trtbuild.plan import Demand, MemoryPlan, ModelEntry, RepoFile, Step, WeightsDir
from trtbuild.recipe import engine_support
from trtbuild.resources import template_dir
from trtbuild.signature import ServedModel, ServedTask
from trtbuild.toolchain import Toolchain, engine_arguments
from trtbuild_builders.common import require_image, told
from trtbuild_builders.memory import plan_memory
from trtbuild_builders.text.frontend import frontend_entries, frontend_reasons
from trtbuild_builders.text.settings import argument_rows, dump, head_of
from trtbuild_builders.text.tensors import config_file, model_files, tensors
from trtbuild_builders.text.worker import KEPT
from trtbuild_builders.vllm.gpus import gpu_reasons, own_warnings
from trtbuild_builders.vllm.pooler import kept_dtype
from trtbuild_builders.vllm_pooling.check import ARTIFACT, artifacts
from trtbuild_builders.vllm_pooling.reasons import reasons
from trtbuild_builders.vllm_pooling.settings import (
    ARGUMENTS,
    MEANINGS,
    engine_recipe,
    own,
    settings,
    vllm_arguments,
)

__all__ = ["VllmPoolingBuilder", "builder"]

_WHAT = "text in, {task} out; vLLM {vllm} computes them."
_TOKENIZER = "tokenizer.json"
_SHARED = {"pooling_guard.py": "backend_guard.py", "pooling_settings.py": "backend_settings.py"}


class VllmPoolingBuilder(Builder):
    """Serves a checkpoint that vLLM pools, with the tensors of every other text model."""

    name = "vllm-pooling"
    summary = "Embedding models, rerankers and classifiers, computed by vLLM"
    priority = 45
    takes = frozenset({"engine", "weights", "contract"})

    def reasons_unsupported(self, case: Case) -> Sequence[str]:
        """Return all reasons against it, each with its fix."""
        return (*reasons(case), *frontend_reasons(case))

    def image(self, toolchain: Toolchain) -> str:
        """Return the ``-vllm-python-py3`` image of the release."""
        return toolchain.vllm_image

    def artifacts(self, case: Case) -> Sequence[Artifact]:
        """Return the reference's answers. Raises RecipeError for an invalid setting."""
        return artifacts(case)

    def models(self, case: Case) -> Sequence[ModelEntry]:
        """Return one directory. Raises RecipeError for an invalid setting."""
        recipe, chosen = case.recipe, own(case)
        if not recipe.name:
            raise ValueError("the recipe has no model name yet")
        inputs, outputs = tensors(case)
        config = pbtxt.model_config(
            name=recipe.name,
            backend="python",
            max_batch_size=chosen["max_batch_size"],
            input=inputs,
            output=outputs,
            # The model itself chooses its GPUs, also several of them.
            instance_group=[{"count": 1, "kind": "KIND_CPU"}],
        )
        what = _WHAT.format(task=outputs[0]["name"], vllm=case.toolchain.vllm)
        files = (
            config_file(case, config, what),
            RepoFile("1/model.json", dump(vllm_arguments(case))),
            RepoFile("1/settings.json", dump(settings(case))),
            *model_files("vllm_pooling", "text"),
            *_shared_files(),
            *_tokenizer(case),
        )
        weights = []
        if recipe.weights == "copy":
            weights = [WeightsDir("1", files={_TOKENIZER: _TOKENIZER}), WeightsDir("1/weights")]
        if ARTIFACT in case.artifacts:
            weights.append(WeightsDir("1", artifact=ARTIFACT, files={KEPT: KEPT}))
        return (ModelEntry(recipe.name, files, tuple(weights)), *frontend_entries(case))

    def steps(self, case: Case) -> Sequence[Step]:
        """Return the steps. Raises RecipeError for an invalid setting."""
        source, given = case.spec.source, ", ".join(sorted(vllm_arguments(case).keys() - {"model"}))
        placed = (
            f"Leave the weights on the hub: {source.text} at {source.commit}"
            if case.recipe.weights == "hub"
            else "Clone the checkpoint's files into 1/weights"
        )
        return (
            Step("weights", placed),
            Step("engine", f"Write 1/model.json for vLLM {case.toolchain.vllm} ({given})"),
            Step("config", f"Write {case.recipe.name}: tokenizer, vLLM and tensors"),
        )

    def warnings(self, case: Case) -> Sequence[str]:
        """Warn about what runs worse than expected, and how the checkpoint is loaded."""
        toolchain = case.toolchain
        support = engine_support(case.spec, toolchain, toolchain.vllm_image)
        found = [*own_warnings(case), *told(case.spec, case.recipe, support)]
        if case.target.gpu and vllm_arguments(case).get("dtype") == "float32":
            found.append(
                "it computes in float32, as the checkpoint is stored, so that its answers equal "
                "the reference: --set dtype=bfloat16 takes half the memory and less time, and "
                "changes vectors in the third digit"
            )
        return found

    def reasons_against_gpu(self, case: Case) -> Sequence[str]:
        """Return what vLLM's kernels do not support on the GPU."""
        return tuple(gpu_reasons(case))

    def memory(self, case: Case, demand: Demand) -> MemoryPlan:
        """Estimate with vLLM's own accounting."""
        arguments = {**kept_dtype(case.spec), **engine_recipe(case).engine}
        return plan_memory(case.spec, case.toolchain, case.target, demand, arguments=arguments)

    def versions(self, case: Case) -> Mapping[str, str]:
        """Return vLLM's version in the serving image."""
        return {"vllm": case.toolchain.vllm}

    def arguments(self, toolchain: Toolchain) -> Sequence[Mapping[str, Any]]:
        """Return our settings and vLLM's engine arguments."""
        require_image(toolchain, toolchain.vllm, "vLLM")
        engine = [asdict(one) for one in engine_arguments(toolchain.vllm).values()]
        return [*argument_rows(ARGUMENTS, MEANINGS), *engine]

    def signature(self, case: Case) -> ServedModel:
        """Return the public model."""
        task, name = ServedTask.of(case.spec.task.value, case.spec.head), case.recipe.name
        return ServedModel(
            name,
            task,
            task.value,
            context_length=head_of(case).max_tokens,
            tokenizer=f"{name}/1",
            head=case.spec.head,
        )


def _tokenizer(case: Case) -> Sequence[RepoFile]:
    """Return the tokenizer of a checkpoint whose weights stay on the hub."""
    if case.recipe.weights != "hub" or case.checkpoint is None:
        return ()
    raw = case.checkpoint.read_bytes(_TOKENIZER)
    return () if raw is None else (RepoFile(f"1/{_TOKENIZER}", raw),)


def _shared_files() -> Sequence[RepoFile]:
    """Return what it shares with our vLLM backend, under the names that the model imports."""
    folder = template_dir("backends", "vllm")
    return [RepoFile(f"1/{name}", (folder / of).read_bytes()) for name, of in _SHARED.items()]


builder = VllmPoolingBuilder()
