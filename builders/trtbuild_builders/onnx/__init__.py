"""The ``onnx`` builder: embedding models, rerankers and classifiers as a graph for ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trtbuild.builder import Artifact, Builder, Case
from trtbuild.plan import Demand, MemoryPlan, ModelEntry, Step
from trtbuild.signature import ServedModel, ServedTask
from trtbuild.toolchain import Toolchain, onnx_runtime
from trtbuild_builders.onnx.export import given_graph, graph_artifact
from trtbuild_builders.onnx.memory import memory_plan
from trtbuild_builders.onnx.reasons import TRIED, reasons
from trtbuild_builders.onnx.repository import entries
from trtbuild_builders.onnx.settings import ARGUMENTS, MEANINGS, core_name, engine, is_images
from trtbuild_builders.text.frontend import frontend_reasons
from trtbuild_builders.text.settings import argument_rows, head_of

__all__ = ["OnnxBuilder", "builder"]

_SMALL = 1_000_000_000  # parameters up to which a graph serves better than an LLM engine
_DECODERS = ("CausalLM", "ForConditionalGeneration")


class OnnxBuilder(Builder):
    """Serves a public model with text input, and the graph that it calls."""

    name = "onnx"
    summary = "Embedding models, rerankers and classifiers, exported to ONNX and checked"
    priority = 60
    takes = frozenset({"engine", "contract"})
    _SECOND = 30  # below vllm's 50

    def preference(self, case: Case) -> int:
        """Prefer this builder for encoders of ordinary size, an LLM engine for large ones."""
        spec = case.spec
        large = spec.parameters > _SMALL or spec.architecture.endswith(_DECODERS)
        return self._SECOND if large else self.priority

    def reasons_unsupported(self, case: Case) -> Sequence[str]:
        """Return all reasons against it, each with its fix."""
        return (*reasons(case), *frontend_reasons(case))

    def artifacts(self, case: Case) -> Sequence[Artifact]:
        """Return the graph. Raises RecipeError for an invalid setting."""
        return (graph_artifact(case),)

    def models(self, case: Case) -> Sequence[ModelEntry]:
        """Return the public model and its graph. Raises RecipeError for an invalid setting."""
        return entries(case)

    def steps(self, case: Case) -> Sequence[Step]:
        """Return the steps. Raises RecipeError for an invalid setting."""
        chosen, given = engine(case), given_graph(case)
        made = f"Take {given} as it is" if given else f"Export to ONNX, opset {chosen['opset']}"
        checked = (
            (Step("check", "Compare its answers with those of the reference implementation"),)
            if chosen["check"]
            else ()
        )
        name = case.recipe.name
        first = "resizing" if is_images(case) else "tokenizer"
        return (
            Step("graph", made),
            *checked,
            Step("config", f"Write {core_name(case)}: the graph for ONNX Runtime"),
            Step("config", f"Write {name}: {first}, batching and tensors"),
        )

    def warnings(self, case: Case) -> Sequence[str]:
        """Warn about what was not checked."""
        found = []
        architecture = case.spec.architecture
        if architecture not in TRIED and not given_graph(case):
            found.append(
                f"the export of {architecture} was not tried: the comparison with the reference "
                "decides"
            )
        if not engine(case)["check"]:
            found.append("its answers are not compared with the reference (check=false)")
        if given_graph(case):
            found.append(
                "the given graph has no weights to compute a reference from: its answers are only "
                "compared with themselves, alone and in a batch"
            )
        return found

    def memory(self, case: Case, demand: Demand) -> MemoryPlan:
        """Estimate weights and one batch. Raises RecipeError for an invalid setting."""
        return memory_plan(case, demand)

    def versions(self, case: Case) -> Mapping[str, str]:
        """Return ONNX Runtime's version in the serving image."""
        runtime = onnx_runtime(case.toolchain.triton)
        return {"onnxruntime": runtime.version} if runtime else {}

    def arguments(self, toolchain: Toolchain) -> Sequence[Mapping[str, Any]]:  # noqa: ARG002
        """Return the settings for ``--set``, the same in every release."""
        return argument_rows(ARGUMENTS, MEANINGS)

    def signature(self, case: Case) -> ServedModel:
        """Return the public model; clients do not call its graph."""
        head, name = head_of(case), case.recipe.name
        task = ServedTask.of(case.spec.task.value, head)
        if is_images(case):
            return ServedModel(name, task, task.value, head=case.spec.head)
        return ServedModel(
            name,
            task,
            task.value,
            context_length=head.max_tokens,
            tokenizer=f"{name}/1",
            head=case.spec.head,
        )


builder = OnnxBuilder()
