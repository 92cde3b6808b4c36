"""Recipes for ``LLM()`` that TensorRT-LLM refuses when it starts, and some that it takes."""

from __future__ import annotations

from typing import Any

import pytest

from trtbuild.recipe import llm_problems
from trtbuild.toolchain import trtllm_release

RELEASE = trtllm_release("1.2.1")
EAGLE = {"decoding_type": "Eagle", "max_draft_len": 3, "speculative_model": "/models/m/1/draft"}

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"kv_cache_config": {"max_attention_window": []}}, "of at least 1"),
    ({"kv_cache_config": {"max_attention_window": [0]}}, "each a whole number above 0"),
    ({"kv_cache_config": {"max_attention_window": ["a"]}}, "each a whole number above 0"),
    ({"kv_cache_config": {"max_gpu_total_bytes": -1}}, "of at least 0, not -1"),
    ({"kv_cache_config": {"free_gpu_memory_fraction": None}}, "not null"),
    ({"cuda_graph_config": {"batch_sizes": [1, 2], "max_batch_size": 8}}, "not both"),
    ({"cuda_graph_config": {"max_batch_size": -1}}, "of at least 0"),
    ({"cuda_graph_config": {"batch_sizes": ["a"]}}, "each a whole number"),
    ({"stream_interval": 0}, "of at least 1, not 0"),
    ({"batch_wait_timeout_ms": -1}, "of at least 0"),
    ({"batch_wait_timeout_iters": -1}, "of at least 0"),
    ({"batch_wait_max_tokens_ratio": 2}, "from 0 to 1"),
    ({"torch_compile_config": {"max_num_streams": 0}}, "of at least 1"),
    ({"torch_compile_config": {"capture_num_tokens": [0]}}, "above 0"),
    ({"load_format": "foo"}, '"AUTO", "DUMMY", "VISION_ONLY"'),
    ({"speculative_config": {**EAGLE, "max_draft_len": None}}, "max_draft_len"),
    ({"speculative_config": {"decoding_type": "Eagle", "speculative_model": "d"}}, "max_draft_len"),
    ({"speculative_config": {**EAGLE, "max_draft_len": 0}}, "above 0"),
    ({"speculative_config": {"decoding_type": "Eagle", "max_draft_len": 3}}, "speculative_model"),
    ({"speculative_config": {"decoding_type": "NGram"}}, "max_matching_ngram_size"),
    ({"speculative_config": {"decoding_type": "NGram", "max_draft_len": 2}}, "ngram_size"),
    ({"speculative_config": {"decoding_type": "MTP", "num_nextn_predict_layers": 0}}, "above 0"),
    ({"speculative_config": {"decoding_type": "DraftTarget", "max_draft_len": 3}}, "or 'speculat"),
    ({"speculative_config": {"decoding_type": "UserProvided"}}, "a Python object"),
    ({"speculative_config": {"decoding_type": "SaveState"}}, "needs 'output_directory'"),
    ({"speculative_config": {**EAGLE, "draft_len_schedule": {4: 2}}}, "batch size 1"),
    ({"speculative_config": {**EAGLE, "draft_len_schedule": {1: 2}}}, "max_draft_len=3"),
    ({"speculative_config": {**EAGLE, "draft_len_schedule": {0: 3}}}, "must be a positive whole"),
    ({"speculative_config": {**EAGLE, "draft_len_schedule": {1: "x"}}}, "must be a whole number"),
    ({"peft_cache_config": {"lora_prefetch_dir": "/a"}}, "prefetching adapters is not supported"),
    ({"ray_placement_config": {"defer_workers_init": True}}, "needs orchestrator_type=ray"),
    ({"ray_worker_extension_cls": "a.B"}, "needs orchestrator_type=ray"),
    ({"moe_config": {"load_balancer": "balance.yaml"}}, "must be an object"),
    ({"kv_connector_config": {"connector_module": "a"}}, "needs 'connector_scheduler_class'"),
    ({"nvfp4_gemm_config": {"allowed_backends": []}}, "of at least 1"),
    ({"nvfp4_gemm_config": {"allowed_backends": ["foo"]}}, '"cutlass", "cublaslt"'),
    ({"perf_metrics_max_requests": -1}, "of at least 0"),
    ({"cache_transceiver_config": {"kv_transfer_timeout_ms": 0}}, "above 0"),
    ({"scheduler_config": {"dynamic_batch_config": {}}}, "needs 'enable_batch_size_tuning'"),
    ({"attention_dp_config": {"enable_balance": True, "timeout_iters": -1}}, "must be at least 0"),
]  # fmt: skip

TAKEN: list[dict[str, Any]] = [
    {"kv_cache_config": {"max_attention_window": [4096, 512], "free_gpu_memory_fraction": 1}},
    {"cuda_graph_config": {"batch_sizes": [1, 2, 4], "max_batch_size": 0}},
    {"cuda_graph_config": {"batch_sizes": [1, 2, 3, 4], "max_batch_size": 4}},
    {"cuda_graph_config": {"batch_sizes": [4, 1, 2, 8, 10], "max_batch_size": 10,
                           "enable_padding": True}},
    {"cuda_graph_config": {"max_batch_size": 256, "enable_padding": True}},
    {"cuda_graph_config": None},
    {"stream_interval": 1, "batch_wait_max_tokens_ratio": 1},
    {"load_format": "vision_only"},
    {"speculative_config": EAGLE},
    {"speculative_config": {**EAGLE, "draft_len_schedule": {"1": 3, "8": 1}}},
    {"speculative_config": {"decoding_type": "MTP"}},
    {"speculative_config": {"decoding_type": "NGram", "max_draft_len": 2,
                            "max_matching_ngram_size": 4}},
    {"speculative_config": {"decoding_type": "SaveState", "output_directory": "/o",
                            "eagle3_layers_to_capture": [1]}},
    {"speculative_config": {"decoding_type": "AUTO"}},
    {"ray_worker_extension_cls": "a.B", "orchestrator_type": "ray"},
    {"moe_config": {"load_balancer": {"num_slots": 16}}},
    {"nvfp4_gemm_config": {"allowed_backends": ["cutlass", "cuda_core"]}},
    {"peft_cache_config": {"lora_prefetch_dir": None}},
    {"attention_dp_config": {"enable_balance": False, "timeout_iters": -1}},
]  # fmt: skip


@pytest.mark.parametrize(("recipe", "said"), REFUSED, ids=lambda value: str(value)[:60])
def test_what_llm_refuses_is_refused_before_anything_is_written(
    recipe: dict[str, Any], said: str
) -> None:
    problems = llm_problems(recipe, RELEASE)
    assert any(said in problem for problem in problems), problems


@pytest.mark.parametrize("recipe", TAKEN, ids=lambda value: str(value)[:60])
def test_what_llm_takes_is_taken(recipe: dict[str, Any]) -> None:
    assert llm_problems(recipe, RELEASE) == ()


def test_the_checks_reach_fields_of_the_release_only() -> None:
    old = trtllm_release("1.0.0")
    assert llm_problems({"speculative_config": {"decoding_type": "UserProvided"}}, old)
    assert llm_problems({"stream_interval": 0}, old)
    (said,) = llm_problems({"speculative_config": {"decoding_type": "SaveState"}}, old)
    assert "must be one of MTP, Eagle, NGram, DraftTarget, AUTO, not 'SaveState'" in said


@pytest.mark.parametrize(
    ("architecture", "since"),
    [
        ("Qwen2MoeForCausalLM", "1.0.0"),
        ("GptOssForCausalLM", "1.1.0"),
        ("Starcoder2ForCausalLM", "1.2.0"),
    ],
)
def test_architectures_by_release(architecture: str, since: str) -> None:
    releases = ("1.0.0", "1.0.3.2510", "1.1.0", "1.2.0", "1.2.1")
    known = [one for one in releases if architecture in trtllm_release(one).architectures]
    assert known == list(releases[releases.index(since) :])
