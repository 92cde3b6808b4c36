"""The stand-in for TensorRT-LLM's LLM API, as far as it needs no vLLM."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trtbuild.resources import template_dir


@pytest.fixture(scope="module")
def trtllm() -> Iterator[Any]:
    """The package, imported the way a model does during a rehearsal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(template_dir("rehearsal", "llmapi")))
        import tensorrt_llm.llm
        import tensorrt_llm.result

        yield tensorrt_llm
    for name in [name for name in sys.modules if name.split(".")[0] == "tensorrt_llm"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("values", "greedy"),
    [
        ({}, True),
        ({"temperature": 0}, True),
        ({"temperature": 0.7, "top_k": 1}, True),
        ({"top_p": 0.0, "temperature": 0.7}, True),
        ({"temperature": 0.7}, False),
        ({"top_k": 40}, False),
    ],
)
def test_greedy_as_tensorrt_llm_means_it(trtllm: Any, values: Any, greedy: bool) -> None:
    assert trtllm.SamplingParams(**values).greedy is greedy


def test_parameters_that_contradict_are_refused(trtllm: Any) -> None:
    with pytest.raises(ValueError, match="best_of"):
        trtllm.SamplingParams(n=3, best_of=2, temperature=1.0)
    with pytest.raises(ValueError, match="several sequences"):
        trtllm.SamplingParams(n=2)


def test_lengths_and_adapters_are_taken_over_and_the_rest_is_left(trtllm: Any) -> None:
    plan = {"checkpoint": "/weights", "engine": {"dtype": "float32"}}
    given = {
        "max_seq_len": 512,
        "max_num_tokens": 4096,
        "max_batch_size": 2048,
        "tensor_parallel_size": 8,
        "kv_cache_config": {"dtype": "fp8"},
        "enable_lora": True,
        "lora_config": {"lora_dir": ["a", "b"], "max_lora_rank": 16},
    }
    assert trtllm.llm.engine_arguments(given, plan) == {
        "model": "/weights",
        "dtype": "float32",
        "max_model_len": 512,
        "max_num_batched_tokens": 4096,
        "max_num_seqs": 64,
        "enable_lora": True,
        "max_lora_rank": 16,
        "max_loras": 2,
    }


def test_a_model_is_found_by_its_folder(
    trtllm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = {"models": {"a": {"checkpoint": "/other"}}, "engine": {"dtype": "float32"}}
    path = tmp_path / "rehearsal.json"
    path.write_text(json.dumps(document))
    monkeypatch.setenv("TRTBUILD_REHEARSAL", str(path))
    find = trtllm.llm.rehearsal_plan
    assert find("/repo/a/1/weights")["checkpoint"] == "/other"
    assert find("/repo/b/1/weights")["checkpoint"] == "/repo/b/1/weights"


def produced(text: str, ids: list[int], reason: str | None = None) -> Any:
    item = SimpleNamespace(
        index=0, text=text, token_ids=ids, cumulative_logprob=None, logprobs=None,
        finish_reason=reason, stop_reason=None,
    )  # fmt: skip
    return SimpleNamespace(outputs=[item], finished=reason is not None, prompt_token_ids=[1])


def read(trtllm: Any, outputs: list[Any], stops: Any, streaming: bool) -> list[tuple[str, Any]]:
    async def run() -> list[tuple[str, Any]]:
        params = trtllm.SamplingParams()
        result = trtllm.result.RequestOutput("1", params, stops, lambda: None)
        for output in outputs:
            if result.take(output, streaming):
                break
        return [(o.outputs[0].text, o.outputs[0].stop_reason) async for o in result]

    return asyncio.run(run())


def test_a_stop_string_ends_at_its_tokens_and_its_first_ones_have_been_streamed(
    trtllm: Any,
) -> None:
    steps = [produced("a", [5]), produced("a E", [5, 6]), produced("a END", [5, 6, 7])]
    stops = {"END": (6, 7)}
    assert read(trtllm, steps, stops, streaming=True) == [
        ("a", None), ("a E", None), ("a END", "END"),
    ]  # fmt: skip
    assert read(trtllm, steps, stops, streaming=False) == [("a ", "END")]


def test_written_with_other_tokens_it_does_not_end(trtllm: Any) -> None:
    steps = [produced("a END", [5, 8]), produced("a END.", [5, 8, 9], "length")]
    assert read(trtllm, steps, {"END": (6, 7)}, streaming=False) == [("a END.", None)]
