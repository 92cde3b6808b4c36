"""Bad requests: a code and a sentence, never a traceback, and the engine goes on."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc

from support.smollm2 import generate
from support.triton import Triton
from trtbuild.client import LLMClient, Sampling
from trtbuild.errors import ServerError


def sampling(**values: Any) -> dict[str, Any]:
    return {"sampling_parameters": json.dumps(values)}


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": (sampling(tempurature=1), "unknown sampling parameter 'tempurature', did you"),
    "two at once": (sampling(foo=1, top_p="x"), "'foo'; sampling parameter 'top_p' must be float"),
    "out of range": (sampling(top_p=7), "top_p must be in (0, 1]"),
    "zero tokens": (sampling(max_tokens=0), "max_tokens must be at least 1"),
    "reserved key": (sampling(output_kind=1), "unknown sampling parameter 'output_kind'"),
    "bad structure": (sampling(structured_outputs={"jsn": 1}), "has no 'jsn' (did you mean 'json'"),
    "unknown LoRA": (sampling(lora_name="poet"), "unknown LoRA 'poet'"),
    "bad JSON": ({"sampling_parameters": "{bad"}, "'sampling_parameters' is not valid JSON"),
    "JSON list": ({"sampling_parameters": "[1]"}, "must be a JSON object, got list"),
    "prompt in stream": (
        {"stream": True, "exclude_input_in_output": False},
        "When streaming, `exclude_input_in_output` = False is not allowed.",
    ),
    # What vLLM's front hands on, and its engine cannot read: no later request would be answered.
    "bias of a word": (sampling(logit_bias={"a": 1}), "Expected `int`, got `str`"),
    "bias by a word": (sampling(logit_bias={"1": "x"}), "Expected `float`, got `str`"),
    "bad number": (sampling(bad_words=[1]), "Expected `str`, got `int`"),
    "allowed word": (sampling(allowed_token_ids=["a"]), "Expected `int`, got `str`"),
    "stop list": (sampling(stop=[["a"]]), "Expected `str`, got `array`"),
    "extra numbers": (sampling(extra_args={"1": 1}), "Expected `str`, got `int`"),
    "huge seed": (sampling(seed=2**70), "can't serialize ints"),
    "infinite": (sampling(logit_bias={"1": float("inf")}), "'logit_bias' must be dict"),
    "half a pair": (sampling(lora_name="\ud800"), "unknown LoRA '\\ud800'"),
    "half a key": (sampling(**{"\ud800": 1}), "unknown sampling parameter '\\ud800'"),
    "deep": ({"sampling_parameters": "[" * 5000}, "not valid JSON"),
    "empty prompt": ({"text_input": ""}, "prompt cannot be empty"),
    "too long": ({"text_input": "word " * 4000}, "maximum context length is 512"),
    "embedding": ({"embedding_request": '{"input": "a"}'}, "cannot 'embed'; it can: generate"),
    "base64": ({"image": ["####"]}, "'image' is not valid base64"),
    "no picture": (
        {"image": [base64.b64encode(b"hello").decode()]},
        "'image' is not a readable picture",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_bad_request_is_refused_with_its_reason(vllm_server: Triton, name: str) -> None:
    body, message = CASES[name]
    answer = generate(vllm_server, **body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert message in error
    assert "Traceback" not in error and ".py" not in error


def test_a_prompt_that_is_not_utf8_is_refused(vllm_server: Triton) -> None:
    refused: list[Any] = []
    with triton_grpc.InferenceServerClient(vllm_server.grpc) as client:
        client.start_stream(lambda result, error: refused.append(error))
        text = triton_grpc.InferInput("text_input", [1], "BYTES")
        text.set_data_from_numpy(np.array([b"caf\xe9 au lait"], dtype=np.object_))
        client.async_stream_infer("smollm2", [text])
        client.stop_stream()
    assert "'text_input' is not valid UTF-8: invalid continuation byte at byte 3" in str(refused[0])


def test_codes_tell_a_client_mistake_from_a_server_fault(vllm_server: Triton) -> None:
    """Over gRPC the code needs the header that asks for real status codes."""
    refused: list[Any] = []
    with triton_grpc.InferenceServerClient(vllm_server.grpc) as client:
        client.start_stream(
            lambda result, error: refused.append(error), headers={"triton_grpc_error": "true"}
        )
        text = triton_grpc.InferInput("text_input", [1], "BYTES")
        text.set_data_from_numpy(np.array([b""], dtype=np.object_))
        client.async_stream_infer("smollm2", [text])
        client.stop_stream()
    assert refused[0].status() == "StatusCode.INVALID_ARGUMENT"


def test_the_client_names_the_nearest_model_and_the_mend_for_a_long_prompt(
    vllm_server: Triton,
) -> None:
    for url, protocol in ((vllm_server.grpc, "grpc"), (vllm_server.http, "http")):
        with LLMClient(url, protocol) as client:  # type: ignore[arg-type]
            with pytest.raises(ServerError) as unknown:
                client.answer("smolm2", "x")
            assert "no model 'smolm2'" in unknown.value.what
            assert "'smollm2'" in unknown.value.fix
            with pytest.raises(ServerError) as long:
                client.answer("smollm2", "word " * 4000)
            assert "longer than 'smollm2' can take" in long.value.what
            with pytest.raises(ServerError) as slow:
                client.answer("smollm2", "a", Sampling(400, ignore_eos=True), timeout=0.5)
            assert "within 0.5 s" in slow.value.what
    vllm_server.settled()


def test_no_prompt_is_written_to_the_log(vllm_server: Triton) -> None:
    secret = "xyzzy-plugh-4711"
    generate(vllm_server, text_input=secret, sampling_parameters='{"max_tokens": 2}')
    generate(vllm_server, text_input=secret, sampling_parameters='{"max_tokens": 0}')
    assert secret not in vllm_server.log.read_text(errors="replace")
