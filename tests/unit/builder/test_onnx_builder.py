"""The builder ``onnx``: what it refuses, and how a graph is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from support.specs import llama_8b
from trtbuild import pbtxt, toolchain
from trtbuild.builder import Case
from trtbuild.errors import RecipeError
from trtbuild.modelspec import Head, HeadKind, Task
from trtbuild.plan import Demand
from trtbuild.recipe import ModelRecipe
from trtbuild.toolchain import onnx_accelerators
from trtbuild_builders.onnx import builder


def case_of(head: Head | None = None, task: Task = Task.EMBED, **engine: Any) -> Case:
    spec = llama_8b(task=task)
    spec = replace(spec, architecture="BertModel", head=head)
    return Case(spec, ModelRecipe(source="x", name="m", engine=engine), toolchain.load("26.07"))


def core_config(case: Case) -> Any:
    (_, core) = builder.models(case)
    (config,) = (file for file in core.files if file.path == "config.pbtxt")
    return pbtxt.parse(config.content.decode())


def parameters(case: Case) -> Mapping[str, str]:
    (named,) = core_config(case).optimization.execution_accelerators.gpu_execution_accelerator
    assert named.name == "tensorrt"
    return dict(named.parameters)


# ------------------------------------------------------------------------------------ accelerators


def test_tensorrt_gets_a_profile_of_every_input() -> None:
    head = Head(HeadKind.DENSE, ("mean",), include_prompt=False, max_tokens=100)
    said = parameters(case_of(head, accelerator="tensorrt"))
    names = ("input_ids", "attention_mask", "pooling_mask")
    for which, shape in {"min": "1x1", "opt": "32x100", "max": "64x100"}.items():
        wanted = ",".join(f"{name}:{shape}" for name in names)
        assert said[f"trt_profile_{which}_shapes"] == wanted
    assert said["precision_mode"] == "FP32"
    assert said["trt_engine_cache_path"] == "/tmp/trtbuild-tensorrt/m_core"
    assert said.keys() <= set(onnx_accelerators("tensorrt"))


def test_no_call_of_a_tensorrt_graph_is_beyond_its_profile() -> None:
    (public, _) = builder.models(case_of(accelerator="tensorrt", max_batch_size=500))
    (settings,) = (file for file in public.files if file.path == "1/settings.json")
    assert b'"rows": 64' in settings.content
    assert core_config(case_of(accelerator="tensorrt", max_batch_size=500)).max_batch_size == 64
    assert core_config(case_of(max_batch_size=500)).max_batch_size == 500


def test_tensorrt_computes_in_half_precision_where_the_recipe_does() -> None:
    said = parameters(case_of(accelerator="tensorrt", quantize="fp16"))
    assert said["precision_mode"] == "FP16"
    assert said["trt_layer_norm_fp32_fallback"] == "1"


@pytest.mark.parametrize("engine", [{"accelerator": "openvino"}, {"quantize": "int8"}])
def test_what_is_for_cpus_runs_there(engine: dict[str, str]) -> None:
    (group,) = core_config(case_of(**engine)).instance_group
    assert group.kind == group.KIND_CPU


@pytest.mark.parametrize(
    ("engine", "problem"),
    [
        ({"quantize": "int8", "accelerator": "tensorrt"}, "int8 graphs are for ONNX Runtime"),
        ({"quantize": "fp16", "accelerator": "openvino"}, "fp16 graphs are for GPUs"),
        ({"quantize": "int4"}, "quantize"),
        ({"accelerator": "cuda"}, "accelerator"),
        ({"opset": 99}, "is newer than ONNX Runtime"),
    ],
)
def test_settings_that_cannot_be_are_refused(engine: dict[str, Any], problem: str) -> None:
    with pytest.raises(RecipeError) as caught:
        builder.models(case_of(**engine))
    assert problem in "\n".join([str(caught.value), *caught.value.details])


# ------------------------------------------------------------------------------------------ heads

TENSORS = {
    HeadKind.SPARSE: (Task.EMBED, ["indices", "values", "token_count"]),
    HeadKind.MULTI_VECTOR: (Task.EMBED, ["token_embeddings", "vector_count", "token_count"]),
    HeadKind.TOKEN_LABELS: (Task.TOKEN_CLASSIFY, ["entities", "scores", "token_count"]),
    HeadKind.LABELS: (Task.CLASSIFY, ["scores", "label", "token_count"]),
    HeadKind.SCORE: (Task.RERANK, ["index", "logit", "score", "token_count"]),
}


@pytest.mark.parametrize("kind", TENSORS)
def test_each_head_has_the_tensors_of_its_schema(kind: HeadKind) -> None:
    task, names = TENSORS[kind]
    case = case_of(Head(kind, dimension=8, labels=("a", "b")), task)
    (public, _) = builder.models(case)
    (config,) = (file for file in public.files if file.path == "config.pbtxt")
    assert [one.name for one in pbtxt.parse(config.content.decode()).output] == names
    served = builder.signature(case)
    assert served.request_schema == served.task.value
    assert not builder.reasons_unsupported(case)


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (Head(HeadKind.DENSE), "its class pools inside the model"),
        (Head(HeadKind.SCORE, score_tokens=(1, 2)), "it reranks by the logits of tokens"),
        (Head(HeadKind.SCORE, pair_template="{query}{document}"), "a classifier with a template"),
        (Head(HeadKind.MULTI_VECTOR, query_expansion="masked"), "filled with the mask token"),
    ],
)
def test_a_head_without_a_graph_is_refused(head: Head, reason: str) -> None:
    assert any(reason in said for said in builder.reasons_unsupported(case_of(head)))


@pytest.mark.parametrize(("quantize", "share"), [("", 1.0), ("fp16", 0.5), ("int8", 0.3)])
def test_the_memory_is_weights_and_one_batch(quantize: str, share: float) -> None:
    def rows(**engine: Any) -> dict[str, int]:
        plan = builder.memory(case_of(Head(max_tokens=512), **engine), Demand())
        assert plan is not None and plan.fits is None and plan.needs
        return {row.item: row.bytes for row in plan.rows}

    plain, found = rows(), rows(quantize=quantize)
    assert list(found) == ["weights", "activations", "CUDA context"]
    assert found["weights"] / plain["weights"] == pytest.approx(share, abs=0.03)
    assert rows(token_budget=16384)["activations"] > 3 * plain["activations"]
