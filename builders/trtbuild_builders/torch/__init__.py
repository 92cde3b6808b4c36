"""The ``torch`` builder, the last resort: transformers' own code behind the public tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trtbuild.builder import Artifact, Builder, Case
from trtbuild.plan import Demand, MemoryPlan, ModelEntry, Step
from trtbuild.signature import ServedModel, ServedTask
from trtbuild.toolchain import Toolchain
from trtbuild_builders.common import require_image
from trtbuild_builders.text.frontend import frontend_entries, frontend_reasons
from trtbuild_builders.text.settings import argument_rows, head_of
from trtbuild_builders.torch.check import artifacts
from trtbuild_builders.torch.memory import memory_plan
from trtbuild_builders.torch.reasons import reasons
from trtbuild_builders.torch.repository import entry
from trtbuild_builders.torch.settings import (
    DEFAULTS,
    MEANINGS,
    WEIGHTS,
    engine,
    kind_of,
    known_arguments,
)

__all__ = ["TorchBuilder", "builder"]

_SLOWER = {
    "texts": "an ONNX graph or vLLM would be faster",
    "images": "an ONNX graph would be faster",
    "recordings": "an engine that batches while it decodes would be faster",
}


class TorchBuilder(Builder):
    """Serves what transformers loads, in static batches sorted by length."""

    name = "torch"
    summary = "The last resort: transformers' own code, for texts, images and speech"
    priority = 5
    takes = frozenset({"engine", "contract"})

    def reasons_unsupported(self, case: Case) -> Sequence[str]:
        """Return all reasons against it, each with its fix."""
        return (*reasons(case), *frontend_reasons(case))

    def image(self, toolchain: Toolchain) -> str:
        """Return the ``-vllm-python-py3`` image, which has PyTorch and transformers."""
        return toolchain.vllm_image

    def artifacts(self, case: Case) -> Sequence[Artifact]:
        """Return the comparison with the reference. Raises RecipeError for an invalid setting."""
        return artifacts(case)

    def models(self, case: Case) -> Sequence[ModelEntry]:
        """Return one directory. Raises RecipeError for an invalid setting."""
        return (entry(case), *frontend_entries(case))

    def steps(self, case: Case) -> Sequence[Step]:
        """Return the steps. Raises RecipeError for an invalid setting."""
        compare = Step("check", "Compare its answers with those of the reference implementation")
        return (
            *((compare,) if engine(case)["check"] else ()),
            Step("weights", f"Place the checkpoint's files under {case.recipe.name}/1/{WEIGHTS}"),
            Step("config", f"Write {case.recipe.name}: batching, tensors and our code"),
        )

    def warnings(self, case: Case) -> Sequence[str]:
        """Warn that this is the last resort, and about what was not checked."""
        slower = _SLOWER[kind_of(case)]
        found = [
            "the builder torch is the last resort: it runs transformers' code in static batches, "
            f"operator by operator; {slower} (the plan lists why each builder is not taken)"
        ]
        if not engine(case)["check"]:
            found.append("its answers are not compared with the reference (check=false)")
        return found

    def memory(self, case: Case, demand: Demand) -> MemoryPlan:
        """Estimate weights and one batch: there is no KV cache."""
        return memory_plan(case, demand)

    def versions(self, case: Case) -> Mapping[str, str]:
        """Return the version of vLLM, whose image has PyTorch and transformers."""
        return {"vllm": case.toolchain.vllm}

    def arguments(self, toolchain: Toolchain) -> Sequence[Mapping[str, Any]]:
        """Return the settings for ``--set``, those of all tasks."""
        require_image(toolchain, toolchain.vllm, "vLLM")
        return argument_rows(known_arguments(*DEFAULTS), MEANINGS)

    def signature(self, case: Case) -> ServedModel:
        """Return the public model."""
        spec, name = case.spec, case.recipe.name
        task = ServedTask.of(spec.task.value, spec.head)
        weights = f"{name}/1/{WEIGHTS}"
        return ServedModel(
            name,
            task,
            task.value,
            context_length=head_of(case).max_tokens if kind_of(case) == "texts" else 0,
            tokenizer=weights if spec.tokenizer.kind != "none" else "",
            weights=weights,
            head=spec.head,
        )


builder = TorchBuilder()
