"""The plan of a builder that compiles an engine: its own words, its own limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support import trtllm_sources as tiny
from support.checkpoints import llama_config, llama_shapes, make_described, make_llama
from support.specs import llama_8b, llama_70b
from trtbuild import toolchain
from trtbuild.modelspec import AttentionGroup, KVCache, SourceRef
from trtbuild.pipeline.planning import Sizing, plan_model
from trtbuild.plan import BuildPlan
from trtbuild.planner import make_plan
from trtbuild.recipe import ModelRecipe
from trtbuild_engine_flow import parameters

LOCAL = SourceRef("local", "llama")


def plan(
    spec: Any, gpu: str = "l4", gpus: int = 1, triton: str = "26.07", **engine: Any
) -> BuildPlan:
    recipe = ModelRecipe(source="x", name="llm", backend="trtllm-engine", engine=engine)
    return make_plan(spec, recipe, toolchain.load(triton), gpu=gpu, gpus=gpus)


def test_the_engines_sizes_are_counted() -> None:
    small = plan(llama_8b(source=LOCAL), gpu="h100", max_num_tokens=2048).memory
    large = plan(llama_8b(source=LOCAL), gpu="h100", max_num_tokens=16384).memory
    assert small is not None
    assert large is not None
    assert large.needed_bytes > small.needed_bytes
    assert small.max_concurrency <= 64, "no more sequences than the engine's batch"
    half = plan(llama_8b(source=LOCAL), gpu="h100", kv_cache_free_gpu_mem_fraction=0.5).memory
    assert half is not None
    assert half.usable_bytes < small.usable_bytes


def test_what_is_suggested_can_be_said_to_the_engine_flow() -> None:
    memory = plan(llama_70b(source=LOCAL), gpu="h100", gpus=8).memory
    assert memory is not None
    assert memory.fits is False
    assert memory.alternatives
    known = {*parameters.build_options(), *parameters.triton_parameters(), "tensor_parallel_size"}
    for one in memory.alternatives:
        assert set(one.settings) <= known
        assert "AWQ" not in one.text
    assert memory.settings["tensor_parallel_size"] in {2, 4, 8}


def test_who_asks_for_a_bls_model_is_told_that_it_can_hang() -> None:
    spec = llama_8b(source=LOCAL)
    old = plan(spec, triton="26.06", bls=True).warnings
    (found,) = set(old) - set(plan(spec, triton="26.06").warnings)
    assert "BLS model can hang under load before Triton 26.07" in found
    assert plan(spec, triton="26.07", bls=True).warnings == plan(spec, triton="26.07").warnings


@pytest.mark.parametrize(
    ("groups", "engine", "said"),
    [
        ([("full", 0)], {}, ""),
        ([("sliding", 4096)], {}, "its layers attend to the last 4,096 tokens"),
        ([("sliding", 4096)], {}, "--set max_attention_window_size=4096 or max_seq_len=4096 keeps"),
        ([("sliding", 4096), ("full", 0)], {}, "some layers attend to the last 4,096 tokens"),
        ([("sliding", 4096), ("full", 0)], {}, "max_attention_window_size=[4096, …], a size for"),
        ([("sliding", 4096)], {"max_seq_len": 4096}, ""),
        ([("sliding", 16384)], {}, ""),
        ([("sliding", 4096)], {"max_attention_window_size": 4096}, ""),
    ],
)
def test_windows_that_an_engine_does_not_know_of(
    groups: list[tuple[Any, int]], engine: dict[str, Any], said: str
) -> None:
    kinds = tuple(AttentionGroup(kind, 16, 2048, window=window) for kind, window in groups)
    spec = llama_8b(source=LOCAL, kv_cache=KVCache("sliding-window", kinds))
    found = [text for text in plan(spec, **engine).warnings if "attend" in text]
    if said:
        assert said in found[0]
    else:
        assert not found


def test_a_plan_says_who_converts(tmp_path: Path) -> None:
    ours = make_llama(tmp_path / "llama")
    config = {**llama_config(), "architectures": ["OPTForCausalLM"], "model_type": "opt"}
    other = make_described(tmp_path / "opt", config, llama_shapes(config))
    steps = {}
    for source in (ours, other):
        recipe = ModelRecipe(source=str(source), backend="trtllm-engine")
        planned = plan_model(recipe, triton="26.07", target=Sizing())
        steps[source] = {step.name: step.title for step in planned.plan.steps}
    assert "own converter" not in steps[ours]["convert"]
    assert "with TensorRT-LLM's own converter (opt), because" in steps[other]["convert"]


def test_who_converts_depends_on_the_release(tmp_path: Path) -> None:
    config, shapes = tiny.phi3()
    factors = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    config |= {
        "max_position_embeddings": 131072,
        "original_max_position_embeddings": 4096,
        "rope_scaling": {"type": "longrope", **factors},
    }
    source = make_described(tmp_path / "phi3", config, shapes)
    said = {}
    for triton in ("25.08", "26.07"):
        recipe = ModelRecipe(source=str(source), backend="trtllm-engine")
        planned = plan_model(recipe, triton=triton, target=Sizing())
        said[triton] = next(s.title for s in planned.plan.steps if s.name == "convert")
    assert "own converter (phi), because TensorRT-LLM 0.21.0 names" in said["25.08"]
    assert "own converter" not in said["26.07"]
