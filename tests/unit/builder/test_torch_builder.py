"""The builder ``torch``: what it refuses, what it writes, and the memory that it plans."""

from __future__ import annotations

import ast
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.specs import llama_8b
from trtbuild import hardware, pbtxt, toolchain
from trtbuild.builder import Case, Workplace, discover
from trtbuild.errors import BuildError, RecipeError
from trtbuild.hardware import GpuTarget
from trtbuild.modelspec import Head, HeadKind, Quantization, Task, TokenizerInfo
from trtbuild.plan import Demand
from trtbuild.recipe import ModelRecipe
from trtbuild.signature import ServedTask
from trtbuild_builders.torch import builder

_NAMES = {
    Task.EMBED: ("ElectraModel", "electra"),
    Task.CLASSIFY: ("MPNetForSequenceClassification", "mpnet"),
    Task.IMAGE_CLASSIFY: ("ViTForImageClassification", "vit"),
    Task.TRANSCRIBE: ("WhisperForConditionalGeneration", "whisper"),
}


def case_of(
    task: Task, triton: str = "26.07", engine: dict[str, Any] | None = None, **spec: Any
) -> Case:
    architecture, model_type = _NAMES.get(task, ("LlamaForCausalLM", "llama"))
    kinds = {Task.EMBED: HeadKind.DENSE, Task.CLASSIFY: HeadKind.LABELS}
    head = Head(kinds[task], ("mean",), max_tokens=512) if task in kinds else None
    given = {"architecture": architecture, "model_type": model_type, "task": task, "head": head}
    made = replace(llama_8b(), parameters=100_000_000, hidden_size=768, **(given | spec))
    recipe = ModelRecipe(source="x", name="m", engine=engine or {})
    return Case(made, recipe, toolchain.load(triton))


@pytest.mark.parametrize("task", _NAMES)
def test_what_it_serves(task: Task) -> None:
    assert builder.reasons_unsupported(case_of(task)) == ()
    assert builder.image(toolchain.load("26.07")).endswith("-vllm-python-py3")


@pytest.mark.parametrize(
    ("case", "part"),
    [
        (case_of(Task.GENERATE), "this model's task is generate: use --backend vllm or trtllm"),
        (case_of(Task.VISION_LANGUAGE), "this model's task is vision-language"),
        (case_of(Task.EMBED, "25.11"), "which is too old for the served code: use --triton 25.12"),
        (case_of(Task.EMBED, model_type="own"), "no class for the model_type 'own'"),
        (
            case_of(Task.EMBED, model_type="own", remote_code=True, code=("model",)),
            "the code that the checkpoint brings .auto_map. is never run",
        ),
        (case_of(Task.EMBED, weights_format="pickle"), "pickles, which can run code when loaded"),
        (case_of(Task.EMBED, weights_format="onnx"), "weights in ONNX only"),
        (case_of(Task.EMBED, quantization=Quantization("awq")), "quantized .awq."),
        (case_of(Task.EMBED, layout="mistral"), "params.json"),
        (case_of(Task.EMBED, tokenizer=TokenizerInfo("none")), "no tokenizer.json"),
        (case_of(Task.EMBED, head=Head()), "pools inside the model"),
        (
            case_of(Task.TRANSCRIBE, architecture="MoonshineForConditionalGeneration"),
            "it serves Whisper, and this is Moonshine",
        ),
    ],
)
def test_reasons(case: Case, part: str) -> None:
    found = " ".join(builder.reasons_unsupported(case))
    assert re.search(part, found), found


def test_code_of_a_class_that_transformers_has_is_left_out() -> None:
    case = case_of(Task.EMBED, remote_code=True, code=("model",))
    assert builder.reasons_unsupported(case) == ()


def test_it_is_the_last_resort() -> None:
    case = case_of(Task.EMBED)
    able = [
        one.builder
        for one in discover()
        if one.builder and not one.builder.reasons_unsupported(case)
    ]
    assert min(able, key=lambda one: one.preference(case)).name == "torch"
    (warning,) = builder.warnings(case)
    assert "the last resort" in warning
    assert "an ONNX graph or vLLM would be faster" in warning


def test_leaving_the_comparison_out_is_told() -> None:
    case = case_of(Task.EMBED, engine={"check": False})
    assert builder.artifacts(case) == ()
    assert "not compared with the reference" in builder.warnings(case)[-1]


@pytest.mark.parametrize(
    ("task", "engine", "part"),
    [
        (Task.EMBED, {"dtype": "int8"}, "'dtype'"),
        (Task.IMAGE_CLASSIFY, {"truncate": "END"}, "'truncate'"),
        (Task.TRANSCRIBE, {"batch_size": 0}, "'batch_size'"),
    ],
)
def test_a_wrong_setting_is_refused(task: Task, engine: dict[str, Any], part: str) -> None:
    with pytest.raises(RecipeError) as caught:
        builder.models(case_of(task, engine=engine))
    assert part in str(caught.value)


@pytest.mark.parametrize("task", _NAMES)
def test_every_module_that_is_imported_is_there(task: Task) -> None:
    (entry,) = builder.models(case_of(task))
    there = {
        file.path.removeprefix("1/").removesuffix(".py"): file.content
        for file in entry.files
        if file.path.endswith(".py")
    }
    ours = ("text_", "torch_", "request_")
    for content in there.values():
        for node in ast.walk(ast.parse(content)):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {name for name in names if name.startswith(ours)} <= there.keys()


def test_precision_and_padding_reach_the_model() -> None:
    (entry,) = builder.models(case_of(Task.EMBED, engine={"padding": False, "dtype": "float16"}))
    (content,) = (file.content for file in entry.files if file.path == "1/settings.json")
    said = json.loads(content)
    assert (said["dtype"], said["packs"]) == ("float16", {"ratio": 1.0, "slack": 0})
    (artifact,) = builder.artifacts(case_of(Task.EMBED, engine={"dtype": "float16"}))
    assert artifact.depends["limits"] == {"cosine": 0.999}


def test_a_recording_may_come_in_two_ways() -> None:
    (entry,) = builder.models(case_of(Task.TRANSCRIBE))
    (content,) = (file.content for file in entry.files if file.path == "config.pbtxt")
    config = pbtxt.parse(content.decode())
    assert {one.name: one.optional for one in config.input} == {"audio": True, "samples": True}
    assert builder.signature(case_of(Task.TRANSCRIBE)).task is ServedTask.TRANSCRIBE


def test_a_plan_has_no_kv_cache() -> None:
    case = case_of(Task.EMBED)
    plan = builder.memory(case, Demand())
    assert [row.item for row in plan.rows] == ["weights", "activations", "CUDA context"]
    assert plan.rows[0].bytes == 400_000_000
    assert plan.needs
    gpu = next(one for one in hardware.gpus() if one.name == "l4")
    fitted = builder.memory(replace(case, target=GpuTarget(gpu, 1)), Demand())
    assert fitted.fits
    large = replace(case, target=GpuTarget(gpu, 1), spec=replace(case.spec, parameters=10**11))
    assert not builder.memory(large, Demand()).fits


def test_instances_each_have_the_weights() -> None:
    one, two = (
        builder.memory(case_of(Task.TRANSCRIBE, engine={"instances": count}), Demand())
        for count in (1, 2)
    )
    assert two.needed_bytes == 2 * one.needed_bytes


def test_a_comparison_that_fails_is_told(tmp_path: Path) -> None:
    (artifact,) = builder.artifacts(case_of(Task.EMBED))
    home = tmp_path / "engines" / "m"
    # The Python of the tests has no PyTorch.
    place = Workplace("key", home, tmp_path, "org/name", (), python=Path(sys.executable))
    assert artifact.make is not None
    with pytest.raises(BuildError, match="the comparison failed with exit code 1") as caught:
        artifact.make(place)
    assert "No module named 'torch'" in str(caught.value.details)
    assert "other builders may take the checkpoint" in caught.value.fix


@pytest.mark.parametrize(("task", "said"), [(Task.EMBED, True), (Task.IMAGE_CLASSIFY, False)])
def test_a_difference_is_shown_with_what_to_try(tmp_path: Path, task: Task, said: bool) -> None:
    (artifact,) = builder.artifacts(case_of(task))
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho \"ERROR: 'a' in a batch: off by 0.1\"\nexit 3\n")
    program.chmod(0o755)
    place = Workplace("key", tmp_path / "engines/m", tmp_path, "org/name", (), python=program)
    assert artifact.make is not None
    with pytest.raises(BuildError, match="org/name does not answer as the reference") as caught:
        artifact.make(place)
    assert caught.value.details == ("'a' in a batch: off by 0.1",)
    assert ("--set padding=false" in caught.value.fix) is said
