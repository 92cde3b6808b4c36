"""Our vLLM backend on a real Triton: the texts and every point of its contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from support.smollm2 import MAX_TOKENS, PROMPTS, generate
from support.triton import Triton
from trtbuild.client import LLMClient, Sampling, find_template, render_chat

GREEDY = Sampling(max_tokens=MAX_TOKENS, temperature=0)


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    """The responses of /generate_stream."""
    return [json.loads(line[5:]) for line in answer.text.splitlines() if line.startswith("data:")]


def strings(value: Any) -> list[Any]:
    """Triton's JSON shows one element without its list."""
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("number", range(len(PROMPTS)), ids=[p["name"] for p in PROMPTS])
def test_greedy_text_equals_transformers(
    vllm_server: Triton, reference: list[dict[str, Any]], number: int
) -> None:
    truth = reference[number]
    prompt = truth["prompt"]
    assert truth["tokens"] > 4
    with LLMClient(vllm_server.grpc) as client:
        streamed = client.answer("smollm2", prompt, GREEDY)
    assert streamed.text == truth["text"]
    assert streamed.chunks > 1
    assert streamed.input_tokens == truth["input_tokens"]
    assert streamed.output_tokens == truth["tokens"]
    sampling = {"temperature": 0, "max_tokens": MAX_TOKENS}
    whole = generate(
        vllm_server, text_input=prompt, sampling=sampling, exclude_input_in_output=True
    )
    assert whole.json()["text_output"] == truth["text"]
    pieces = events(
        generate(vllm_server, "generate_stream", text_input=prompt, sampling=sampling, stream=True)
    )
    assert "".join(piece["text_output"] for piece in pieces) == truth["text"]
    assert len(pieces) > 1


def test_our_chat_rendering_is_that_of_transformers(
    smollm2: Path, reference: list[dict[str, Any]]
) -> None:
    number = next(i for i, p in enumerate(PROMPTS) if "messages" in p)
    rendered = render_chat(find_template(smollm2), PROMPTS[number]["messages"])
    assert rendered == reference[number]["prompt"]


def test_without_streaming_the_prompt_comes_first_unless_excluded(vllm_server: Triton) -> None:
    sampling = {"temperature": 0, "max_tokens": 4}
    with_prompt = generate(vllm_server, sampling=sampling).json()["text_output"]
    without = generate(vllm_server, sampling=sampling, exclude_input_in_output=True).json()
    assert with_prompt == "The capital of France is" + without["text_output"]
    streamed = events(generate(vllm_server, "generate_stream", sampling=sampling, stream=True))
    assert "".join(piece["text_output"] for piece in streamed) == without["text_output"]


def test_additional_outputs_come_only_when_asked_for(vllm_server: Triton) -> None:
    plain = generate(vllm_server, sampling={"max_tokens": 2}).json()
    assert set(plain) == {"model_name", "model_version", "text_output"}


def test_additional_outputs_of_a_stream_are_deltas(vllm_server: Triton) -> None:
    names = (
        "finish_reason",
        "cumulative_logprob",
        "logprobs",
        "num_input_tokens",
        "num_output_tokens",
    )
    pieces = events(
        generate(
            vllm_server,
            "generate_stream",
            stream=True,
            sampling={"temperature": 0, "max_tokens": 6, "logprobs": 2},
            **{f"return_{name}": True for name in names},
        )
    )
    assert [p["finish_reason"] for p in pieces[:-1]] == ["None"] * (len(pieces) - 1)
    assert pieces[-1]["finish_reason"] == "length"
    assert sum(p["num_output_tokens"] for p in pieces) == 6
    assert {p["num_input_tokens"] for p in pieces} == {5}
    total = 0.0
    for piece in pieces:
        positions = json.loads(piece["logprobs"])
        assert len(positions) == piece["num_output_tokens"]
        for position in positions:
            best = min(position.values(), key=lambda entry: entry["rank"])
            assert set(best) == {"logprob", "rank", "decoded_token"}
            assert all(token.isdigit() for token in position)
            total += best["logprob"]
        assert piece["cumulative_logprob"] == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("stream", [False, True])
def test_several_outputs_keep_their_places(vllm_server: Triton, stream: bool) -> None:
    answer = generate(
        vllm_server,
        "generate_stream" if stream else "generate",
        stream=stream,
        exclude_input_in_output=True,
        sampling={"n": 3, "temperature": 1.0, "seed": 7, "max_tokens": 5, "ignore_eos": True},
        return_num_output_tokens=True,
        return_finish_reason=True,
    )
    pieces = events(answer) if stream else [answer.json()]
    assert all(len(strings(p["text_output"])) == 3 for p in pieces)
    counts = np.sum([strings(p["num_output_tokens"]) for p in pieces], axis=0)
    assert counts.tolist() == [5, 5, 5]
    assert strings(pieces[-1]["finish_reason"]) == ["length"] * 3
    texts = ["".join(strings(p["text_output"])[i] for p in pieces) for i in range(3)]
    assert len(set(texts)) > 1


def test_sampling_values_may_be_text_or_request_parameters(vllm_server: Triton) -> None:
    typed = generate(vllm_server, sampling={"temperature": 0, "max_tokens": 5}).json()
    text = generate(vllm_server, sampling={"temperature": "0.0", "max_tokens": "5"}).json()
    parameters = generate(vllm_server, temperature=0, max_tokens=5).json()
    nested = generate(vllm_server, parameters={"temperature": "0", "max_tokens": 5}).json()
    assert typed == text == parameters == nested


def test_structured_outputs_bind_the_text(vllm_server: Triton) -> None:
    for key in ("structured_outputs", "guided_decoding"):
        answer = generate(
            vllm_server,
            exclude_input_in_output=True,
            sampling={"max_tokens": 8, key: {"choice": ["Lyon", "Marseille"]}},
        )
        assert answer.json()["text_output"] in ("Lyon", "Marseille")


def test_stop_text_ends_and_is_not_part_of_the_answer(vllm_server: Triton) -> None:
    answer = generate(
        vllm_server,
        exclude_input_in_output=True,
        return_finish_reason=True,
        sampling={"temperature": 0, "max_tokens": 32, "stop": ["answer"]},
    ).json()
    assert answer["finish_reason"] == "stop"
    assert answer["text_output"].endswith("The ")


def test_sixteen_streams_at_once_do_not_mix(vllm_server: Triton) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def ask(number: int) -> str:
        with LLMClient(vllm_server.grpc) as client:
            return client.answer("smollm2", f"Count from {number}: {number},", GREEDY).text

    alone = [ask(number) for number in range(4)]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(ask, range(16)))
    # Batched kernels may round differently; the first words are far from any tie.
    assert [text[:8] for text in together[:4]] == [text[:8] for text in alone]
    assert len(set(together)) > 8


def test_metrics_have_the_names_dashboards_ask_for(vllm_server: Triton) -> None:
    before = vllm_server.settled()
    generate(vllm_server, sampling={"max_tokens": 7, "ignore_eos": True})
    after = vllm_server.settled()
    assert after["generation_tokens_total"] - before["generation_tokens_total"] == 7
    assert after["prompt_tokens_total"] - before["prompt_tokens_total"] == 5
    grown = ("e2e_request_latency_seconds_count", "time_to_first_token_seconds_count",
             "request_queue_time_seconds_count", "request_prefill_time_seconds_count",
             "request_decode_time_seconds_count", "request_inference_time_seconds_count",
             "request_prompt_tokens_count", "request_generation_tokens_count",
             "request_params_n_count", "request_params_max_tokens_count",
             "inter_token_latency_seconds_count")  # fmt: skip
    assert {name: after[name] - before[name] for name in grown} == dict.fromkeys(grown, 1)
    assert (
        after["time_per_output_token_seconds_count"] > before["time_per_output_token_seconds_count"]
    )
    assert after["iteration_tokens_total_sum"] - before["iteration_tokens_total_sum"] == 12
    for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc",
                 "gpu_cache_usage_perc", "num_preemptions_total"):  # fmt: skip
        assert after[name] == 0
