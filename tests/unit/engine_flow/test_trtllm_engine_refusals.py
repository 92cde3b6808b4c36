"""What the engine flow's builder refuses, all of it at once."""

from __future__ import annotations

from typing import Any

import pytest

from support.engine_flow import LOCAL, entries, reasons, refuse
from support.specs import deepseek_v3, llama_8b, with_code
from trtbuild import toolchain
from trtbuild.modelspec import ModelSpec, Quantization, Task, TokenizerInfo

RELEASES = [row.triton for row in toolchain.releases() if row.engine_flow]


# What is wrong, all at once


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ({"max_batch": 4}, "no setting 'max_batch': did you mean 'max_batch_size'"),
        ({"--max-batch-size": 4}, "did you mean 'max_batch_size'"),
        ({"tp_size": 2}, "no setting 'tp_size': did you mean 'tensor_parallel_size'?"),
        ({"max_batch_size": 0}, "max_batch_size=0 is not at least 1"),
        ({"max_batch_size": "4"}, "is not a whole number"),
        ({"profile": "fast"}, "profile=fast is not one of latency, balanced, throughput"),
        ({"batch_scheduler_policy": "MAX_UTILIZATION"}, "write max_utilization"),
        ({"gpt_model_path": "/x"}, "gpt_model_path is written by trtbuild"),
        ({"tensor_parallel_size": 3}, "does not divide the 32 attention heads"),
        ({"tensor_parallel_size": 16}, ""),
        ({"pipeline_parallel_size": 5}, "does not divide the 32 layers"),
        ({"max_seq_len": 200_000}, "more than the checkpoint's context of 131072"),
        ({"max_input_len": 200_000}, "more than the checkpoint's context of 131072"),
        ({"max_seq_len": 100, "max_input_len": 200}, "max_input_len=200 is more than max_seq_len"),
        ({"lookahead_window_size": 4}, "lookahead_window_size without lookahead_ngram_size and"),
        ({"triton_max_batch_size": 65}, "more than the engine was built for (64)"),
        ({"max_batch_size": 8, "triton_max_batch_size": 9}, "will be built for"),
        ({"gpu_device_ids": [[0, 1]]}, "names 2 GPUs and the engine has 1 ranks"),
        ({"use_paged_context_fmha": False, "enable_chunked_context": True}, "paged context FMHA"),
        ({"decoding_mode": "medusa"}, "needs an engine built for medusa"),
        (
            {
                "decoding_mode": "lookahead",
                "speculative_decoding_mode": "lookahead_decoding",
                "max_draft_len": 5,
            },
            "decoding_mode lookahead without lookahead_window_size, lookahead_ngram_size",
        ),
        ({"use_paged_context_fmha": True, "context_fmha": False}, "is a kind of context_fmha"),
        ({"use_paged_context_fmha": True, "dtype": "float32"}, "has no float32 kernels"),
        ({"speculative_decoding_mode": "eagle"}, "needs draft heads that this checkpoint has not"),
        ({"speculative_decoding_mode": "lookahead_decoding"}, "needs max_draft_len"),
        ({"lora_target_modules": ["--output_dir", "/x"]}, "is not a list of words"),
        ({"lora_target_modules": []}, "is not a list of words"),
        ({"exclude_input_in_output": False}, "takes for the answer: leave it out"),
        ({"kv_cache_onboard_blocks": False}, "kv_cache_onboard_blocks cannot be false"),
        (
            {
                "speculative_decoding_mode": "draft_tokens_external",
                "max_draft_len": 5,
                "enable_kv_cache_reuse": False,
            },
            "draft_tokens_external starts with enable_kv_cache_reuse only",
        ),
        ({"cross_kv_cache_fraction": 0.5}, "is for encoder-decoder models"),
        ({"xgrammar_tokenizer_info_path": "/x"}, "without guided_decoding_backend: guides that"),
        (
            {"participant_ids": [[1], [2]], "gpu_device_ids": [[0], [1], [2]]},
            "participant_ids has 2 sets of ranks and the model 3 instances",
        ),
        ({"bls": True, "decoupled": False}, "bls takes a decoupled engine"),
        ({"accumulate_tokens": True}, "accumulate_tokens would change nothing: trtbuild's own"),
        ({"max_num_images": 2}, "models around the engine are for text"),
        ({"max_beam_width": 0}, "max_beam_width=0 is not at least 1"),
    ],
)
def test_settings_that_cannot_be(engine: dict[str, Any], said: str) -> None:
    if said:
        assert said in refuse(**engine)
    else:
        assert entries(**engine)


def test_heads_that_neither_divide_nor_repeat() -> None:
    spec = llama_8b(source=LOCAL.source, num_attention_heads=24, num_kv_heads=8)
    assert "neither divides the 8 key-value heads" in refuse(spec, tensor_parallel_size=6)


def test_guided_decoding_of_a_tokenizer_that_has_no_file() -> None:
    slow = llama_8b(source=LOCAL.source, tokenizer=TokenizerInfo(kind="sentencepiece"))
    asked: dict[str, Any] = {"guided_decoding_backend": "xgrammar"}
    assert "needs a tokenizer.json, and the checkpoint has none" in refuse(slow, **asked)
    assert entries(slow, **asked, xgrammar_tokenizer_info_path="/models/info.json")


def test_settings_of_another_release() -> None:
    said = refuse(triton="24.06", cuda_graph_mode=True, kv_cache_type="paged")
    assert "cuda_graph_mode needs TensorRT-LLM 0.15.0: use --triton 24.11 or newer" in said
    assert "kv_cache_type needs TensorRT-LLM 0.13.0" in said
    said = refuse(triton="24.12", gemm_plugin="nvfp4", log_level="trace")
    assert "gemm_plugin=nvfp4 needs TensorRT-LLM 0.17.0: use --triton 25.01 or newer" in said
    assert "log_level=trace needs TensorRT-LLM 0.18.0: use --triton 25.03 or newer" in said
    assert "paged_kv_cache is gone since TensorRT-LLM 1.0.0" in refuse(paged_kv_cache=True)


def test_all_of_it_at_once() -> None:
    assert refuse(nonsense=1, max_batch_size=0, tensor_parallel_size=5).count(" | ") == 3


# Who cannot be built


@pytest.mark.parametrize(
    ("spec", "triton", "recipe", "said"),
    [
        (LOCAL, "26.08", {}, "1.2.1 was the last that compiles engines: use --triton 26.07"),
        (with_code(), "26.07", {}, "brings code for its tokenizer"),
        (llama_8b(task=Task.EMBED), "26.07", {}, "this model is for embed"),
        (llama_8b(architecture="NewForCausalLM"), "26.07", {}, "has no NewForCausalLM"),
        (llama_8b(tokenizer=TokenizerInfo("none")), "26.07", {}, "has no tokenizer"),
        (llama_8b(quantization=Quantization("awq")), "26.07", {}, "use --backend vllm"),
        (llama_8b(quantization=Quantization("hqq")), "26.07", {}, "use --backend vllm"),
        (llama_8b(quantization=Quantization("fp8")), "26.07", {}, "use --backend trtllm"),
        (deepseek_v3(), "26.07", {}, "its weights are quantised (fp8)"),
        (LOCAL, "26.07", {"weights": "hub"}, "use --weights copy"),
        (LOCAL, "26.07", {"adapters": {"fr": "x"}}, "lora_task_id"),
    ],
)
def test_reasons(spec: ModelSpec, triton: str, recipe: dict[str, Any], said: str) -> None:
    assert said in reasons(spec, triton, **recipe)


@pytest.mark.parametrize("triton", RELEASES)
def test_a_plain_llama_has_nothing_against_it(triton: str) -> None:
    assert reasons(LOCAL, triton) == ""


def test_an_engine_that_is_there_needs_no_family() -> None:
    spec = llama_8b(architecture="NewForCausalLM", quantization=Quantization("awq"))
    assert reasons(spec, engine_dir="engine") == ""
