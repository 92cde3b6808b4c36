"""The builder ``onnx``: what it refuses, and how a graph is run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.specs import llama_8b
from support.tiny_others import make_vit
from trtbuild import pbtxt, toolchain
from trtbuild.builder import Case
from trtbuild.checkpoint import open_checkpoint
from trtbuild.errors import RecipeError
from trtbuild.modelspec import Head, HeadKind, Task
from trtbuild.plan import Demand
from trtbuild.recipe import ModelRecipe
from trtbuild.signature import ServedTask
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
        (
            Head(HeadKind.SCORE, score_tokens=(1, 2)),
            "its files have no chat template",
        ),
        (Head(HeadKind.SCORE, pair_template="{query}{document}"), "a classifier with a template"),
        (Head(HeadKind.MULTI_VECTOR, query_expansion="masked"), "filled with the mask token"),
    ],
)
def test_a_head_without_a_graph_is_refused(head: Head, reason: str) -> None:
    assert any(reason in said for said in builder.reasons_unsupported(case_of(head)))


# ----------------------------------------------------------------------------------------- images

VIT = "ViTForImageClassification"


def images_of(
    tmp_path: Path | None = None, said: str = "", triton: str = "26.07", **more: Any
) -> Case:
    """A classifier of two labels, whose preprocessor_config.json has ``said``."""
    head = Head(HeadKind.IMAGE_LABELS, labels=("cat", "dog"), activation="softmax")
    spec = replace(
        llama_8b(task=Task.IMAGE_CLASSIFY), architecture=VIT, head=head, parameters=86_000_000
    )
    recipe = ModelRecipe(source="x", name="m", engine=more.pop("engine", {}))
    checkpoint = None
    if tmp_path:
        folder = make_vit(tmp_path / "vit")
        (folder / "preprocessor_config.json").write_text(said, encoding="utf-8")
        if not said:
            (folder / "preprocessor_config.json").unlink()
        checkpoint = open_checkpoint(str(folder))
    return Case(replace(spec, **more), recipe, toolchain.load(triton), checkpoint=checkpoint)


def test_an_image_classifier_is_a_graph_behind_images() -> None:
    case = images_of(engine={"batch_size": 8})
    public, core = builder.models(case)
    there = {file.path for file in public.files}
    assert {"1/model.py", "1/onnx_images.py", "1/onnx_core.py", "1/request_images.py"} <= there
    assert not {"1/torch_place.py", "1/text_heads.py"} & there
    assert (core_config(case).max_batch_size, core.name) == (8, "m_core")
    assert builder.signature(case).task is ServedTask.IMAGE_CLASSIFY
    (artifact,) = builder.artifacts(case)
    assert artifact.depends["pythons"] == ["3.11", "3.12"]
    rows = {row.item: row for row in builder.memory(case, Demand()).rows}
    assert rows["activations"].note == "a batch of 8 images"


@pytest.mark.parametrize(
    ("said", "more", "reason"),
    [
        ("", {}, "has no preprocessor_config.json"),
        ('{"image_processor_type": "ImageGPTImageProcessor"}', {}, "names ImageGPTImageProcessor"),
        ('{"feature_extractor_type": "PerceiverFeatureExtractor"}', {}, "PerceiverImageProcessor"),
        ('{"image_processor_type": 3}', {}, "names 3, which does more"),
        ("{}", {"triton": "24.06"}, "Triton 24.06 has Python 3.10"),
        ("{}", {"weights_format": "onnx"}, "weights in ONNX only"),
    ],
)
def test_images_that_cannot_be_prepared_are_refused(
    tmp_path: Path, said: str, more: dict[str, Any], reason: str
) -> None:
    found = builder.reasons_unsupported(images_of(tmp_path, said, **more))
    assert any(reason in one for one in found), found


@pytest.mark.parametrize(
    "name", ["ViTImageProcessor", "ViTImageProcessorFast", "ViTFeatureExtractor"]
)
def test_a_processor_has_several_names(tmp_path: Path, name: str) -> None:
    key = "feature_extractor_type" if name.endswith("Extractor") else "image_processor_type"
    assert not builder.reasons_unsupported(images_of(tmp_path, json.dumps({key: name})))


@pytest.mark.parametrize("setting", [{"token_budget": 1}, {"truncate": "END"}, {"batch_size": 0}])
def test_settings_of_texts_are_not_those_of_images(setting: dict[str, Any]) -> None:
    said = "must be a whole number" if "batch_size" in setting else "is for models that take texts"
    with pytest.raises(RecipeError, match=said):
        builder.models(images_of(engine=setting))
    with pytest.raises(RecipeError, match="'batch_size' is for models that take images"):
        builder.models(case_of(batch_size=8))


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
