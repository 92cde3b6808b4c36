"""Requests that cannot be served: the status, the parameter and the message of each."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.fake_triton import INPUTS, OUTPUTS, FakeTriton
from support.gateways import Served, in_front
from trtbuild_gateway.failures import of_message
from trtbuild_gateway.schema.parameters import table

USER = {"role": "user", "content": "Hello"}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x"}}


def schema(value: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": value}}


CHATS: list[tuple[dict[str, Any], str | None, str]] = [
    ({"model": None}, "model", "'model' is missing"),
    ({"messages": None}, "messages", "'messages' is missing"),
    ({"messages": []}, "messages", "empty"),
    ({"messages": "x"}, "messages", "Expected `array`"),
    ({"messages": [{"content": "x"}]}, "messages[0]", "role"),
    ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role", "king"),
    ({"messages": [{"role": "user"}]}, "messages[0].content", "no content"),
    ({"messages": [{**USER, "content": [{"type": "video"}]}]}, "messages[0].content[0].type", "vi"),
    ({"messages": [{**USER, "content": 5}]}, "messages[0].content", "int"),
    ({"temperature": 3}, "temperature", "<= 2"),
    ({"temperature": "hot"}, "temperature", "Expected `float"),
    ({"top_p": 0}, "top_p", "> 0"),
    ({"n": 0}, "n", ">= 1"),
    ({"n": 1000}, "n", "the most is"),
    ({"max_completion_tokens": 0}, "max_completion_tokens", ">= 1"),
    ({"max_tokens": 1000}, "messages", "context is 64 tokens"),
    ({"messages": [{**USER, "content": "word " * 200}]}, "messages", "context is 64 tokens"),
    ({"stop": [""]}, "stop", "empty text"),
    ({"stop": ["x"] * 17}, "stop", "17"),
    ({"logit_bias": {"x": 1}}, "logit_bias", "token ids"),
    ({"logit_bias": {"5": 101}}, "logit_bias", "<= 100"),
    ({"logit_bias": {"-1": 1}}, "logit_bias", "token ids"),
    ({"logit_bias": {"1_0": 1}}, "logit_bias", "token ids"),
    ({"logit_bias": {"4294967296": 1}}, "logit_bias", "token ids"),
    ({"priority": 2**31}, "priority", "Expected `int`"),
    ({"reasoning_effort": "lots"}, "reasoning_effort", "lots"),
    ({"structured_outputs": {"yaml": "x"}}, "structured_outputs", "unknown field `yaml`"),
    ({"structured_outputs": {"regex": 5}}, "structured_outputs.regex", "Expected `str"),
    ({"structured_outputs": {"json": "{"}}, "structured_outputs.json", "not valid JSON"),
    ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, "response_format", "one"),
    ({"guided_choice": []}, "guided_choice", "length"),
    ({"guided_json": 5}, "guided_json", "Expected `"),
    ({"chat_template_kwargs": {"messages": [USER]}}, "chat_template_kwargs.messages", "send that"),
    ({"top_logprobs": 2}, "top_logprobs", "needs 'logprobs'"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "<= 20"),
    ({"response_format": {"type": "xml"}}, "response_format.type", "xml"),
    ({"response_format": SCHEMA}, "response_format.json_schema.schema", "schema"),
    ({"response_format": schema({"type": "x"})}, "response_format.json_schema.schema", "'x'"),
    ({"response_format": schema({"properties": 1})}, "response_format.json_schema.schema", "prop"),
    ({"response_format": {"type": "json_object"}, "guided_regex": "a"}, "response_format", "one"),
    ({"audio": {"voice": "x"}}, "audio", "not supported"),
    ({"modalities": ["audio"]}, "modalities", "only ['text']"),
    ({"store": True}, "store", "only False"),
    ({"functions": [{"name": "x"}]}, "functions", "use tools"),
    ({"temprature": 1}, "temprature", "did you mean 'temperature'?"),
    ({"nonsense_parameter": 1}, "nonsense_parameter", "unknown parameter"),
    ({"n" * 10_000: 1}, "n" * 200, "unknown parameter"),
    ({"stream_options": {"x": 1}}, "stream_options", "unknown field"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "needs 'stream': true"),
    (
        {"stream": True, "stream_options": {"continuous_usage_stats": True}},
        "stream_options.continuous_usage_stats",
        "once, at the end",
    ),
    ({"max_tokens": 0}, "max_tokens", ">= 1"),
    ({"seed": 2**70}, "seed", "Expected `int`"),
]


COMPLETIONS: list[tuple[dict[str, Any], str | None, str]] = [
    ({"prompt": None}, "prompt", "'prompt' is missing"),
    ({"prompt": []}, "prompt", "empty"),
    ({"prompt": [1, "a"]}, "prompt", "mixes"),
    ({"prompt": [[]]}, "prompt", "empty list"),
    ({"prompt": [-1]}, "prompt[0]", ">= 0"),
    ({"prompt": [0, 599, 3]}, "prompt", "token ids"),
    ({"echo": True, "stream": True}, "echo", "streamed"),
    ({"max_tokens": 0}, "max_tokens", "echo"),
    ({"best_of": 3}, "best_of", "only 1"),
    ({"suffix": "x"}, "suffix", "prompt"),
    ({"prompt": ["a"] * 129}, "n", "the most is 128"),
    ({"logprobs": 50}, "logprobs", "<= 20"),
]
OTHERS: list[tuple[str, dict[str, Any], str, str]] = [
    ("/tokenize", {}, "prompt", "either"),
    ("/tokenize", {"prompt": "a", "messages": [USER]}, "prompt", "either"),
    ("/detokenize", {"tokens": [10**6]}, "tokens", "not a token"),
    ("/v1/embeddings", {"model": "m", "input": []}, "input", "empty"),
    ("/v1/embeddings", {"model": "m", "input": ["a", 1]}, "input", "mixes"),
    ("/v1/embeddings", {"model": "m", "input": "a"}, "model", "its task is"),
    ("/v1/rerank", {"model": "m", "query": "a", "documents": []}, "documents", "empty"),
    ("/v1/rerank", {"model": "m", "query": {}, "documents": ["a"]}, "query", "must be text"),
    ("/v1/score", {"model": "m", "text_1": "a"}, "text_2", "missing"),
    ("/v1/score", {"model": "m", "text_1": ["a"] * 2, "text_2": ["a"] * 3}, "text_2", "as many"),
    ("/v1/classify", {"model": "m", "input": []}, "input", "empty"),
]


def test_each_request_is_refused_by_name() -> None:
    chats = [("/v1/chat/completions", {"messages": [USER], **c}, p, m) for c, p, m in CHATS]
    texts = [("/v1/completions", {"prompt": "a", **c}, p, m) for c, p, m in COMPLETIONS]

    async def test(triton: FakeTriton, served: Served) -> None:
        wrong: list[Any] = []
        for path, body, param, says in (*chats, *texts, *OTHERS):
            named = body if path not in {chats[0][0], texts[0][0]} else {"model": "m", **body}
            answer = await served.post(path, **named)
            error = answer.json().get("error", {})
            fits = error.get("param") == param and says in error.get("message", "")
            if answer.status_code != 400 or not fits or error["type"] != "invalid_request_error":
                wrong.append((body, answer.status_code, error))
        assert wrong == []
        assert not triton.bodies

    in_front(test)


BODIES: list[tuple[bytes, int, str]] = [
    (b"", 400, "not valid JSON"),
    (b"{", 400, "not valid JSON"),
    (b"[]", 400, "must be a JSON object"),
    (b'{"model": "\xff"}', 400, "not valid JSON"),
    (b"[" * 100_000, 400, "JSON"),
    (b'{"model": "other", "messages": [{"role": "user", "content": "a"}]}', 404, "there is: m"),
    (b" " * 5000, 413, "larger than 4,000 bytes"),
]


@pytest.mark.parametrize(("body", "status", "says"), BODIES, ids=range(len(BODIES)))
def test_a_body_that_is_none(body: bytes, status: int, says: str) -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        answer = await served.client.post("/v1/chat/completions", content=body)
        assert answer.status_code == status, answer.text
        assert says in answer.json()["error"]["message"]

    in_front(test, most_bytes=4000 if status == 413 else 1_000_000)


def test_paths_and_methods() -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        for method, path, status in (
            ("GET", "/v1/nothing", 404),
            ("GET", "/v1/chat/completions", 405),
            ("POST", "/v1/models", 405),
            ("GET", "/v1/models/other", 404),
        ):
            answer = await served.client.request(method, path)
            assert answer.status_code == status
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}

    in_front(test)


def test_a_template_that_refuses() -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        answer = await served.post("/v1/chat/completions", model="m", messages=[USER])
        assert answer.status_code == 400
        assert "refuses the messages: no users here" in answer.json()["error"]["message"]

    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "template.jinja"
        path.write_text("{{ raise_exception('no users here') }}")
        in_front(test, models={"m": {"chat_template": str(path)}})


def test_a_model_without_a_template() -> None:
    async def test(_: FakeTriton, served: Served) -> None:
        answer = await served.post("/v1/chat/completions", model="m", messages=[USER])
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "no_chat_template"
        tokens = await served.post("/tokenize", prompt="a")
        assert (tokens.status_code, tokens.json()["error"]["code"]) == (501, "no_tokenizer")

    in_front(test, models={})


def test_what_is_unsupported_can_be_dropped() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        answer = await served.post(
            "/v1/chat/completions", model="m", messages=[USER], store=True, nonsense=1,
            stream_options={"include_usage": True}, logprobs=True,
        )  # fmt: skip
        assert answer.status_code == 200
        told = "store, nonsense, stream_options, logprobs"
        assert answer.headers["x-trtbuild-ignored"] == told
        assert "nonsense" not in json.dumps(triton.bodies)
        odd = {"größe–✓": 1, "a\r\nset-cookie: b=c": 1, "": 1, "x" * 100_000: 1}
        many = {f"key{number}": 1 for number in range(100)}
        answer = await served.post(
            "/v1/chat/completions", model="m", messages=[USER], **odd, **many
        )
        assert answer.status_code == 200 and "set-cookie" not in answer.headers
        told = answer.headers["x-trtbuild-ignored"].split(", ")
        assert told == [*list(many)[:32], "and 72 more"]

    plain = tuple(one for one in OUTPUTS if one[0] != "logprobs")
    in_front(test, spec=(INPUTS, plain), on_unsupported="drop")


@pytest.mark.slow
def test_every_parameter_of_the_clients_is_in_the_table() -> None:
    # a second each for those that only collect
    from anthropic.types import message_create_params
    from openai.types import (
        batch_create_params,
        completion_create_params,
        embedding_create_params,
        file_create_params,
    )
    from openai.types.audio import transcription_create_params, translation_create_params
    from openai.types.chat import completion_create_params as chat_create_params
    from openai.types.responses import response_create_params

    for endpoint, kind in (
        ("chat", chat_create_params.CompletionCreateParamsBase),
        ("completions", completion_create_params.CompletionCreateParamsBase),
        ("embeddings", embedding_create_params.EmbeddingCreateParams),
        ("transcriptions", transcription_create_params.TranscriptionCreateParamsStreaming),
        ("translations", translation_create_params.TranslationCreateParams),
        ("files", file_create_params.FileCreateParams),
        ("batches", batch_create_params.BatchCreateParams),
        ("messages", message_create_params.MessageCreateParamsBase),
        ("responses", response_create_params.ResponseCreateParamsBase),
    ):
        assert kind.__annotations__.keys() <= table()[endpoint].names, endpoint


def test_what_identifies_or_hints_changes_nothing() -> None:
    async def test(triton: FakeTriton, served: Served) -> None:
        more = dict.fromkeys(table()["chat"].noted, "x")
        answer = await served.post("/v1/chat/completions", model="m", messages=[USER], **more)
        assert answer.status_code == 200
        assert json.loads(triton.bodies[0]["sampling_parameters"]).keys() == {"max_tokens"}

    in_front(test)


@pytest.mark.parametrize(
    ("message", "status", "said"),
    [
        (
            "Failed to process the request(s): KeyError: 'x'\n\nAt:\n"
            "  /models/bot/1/guided.py(9): execute\n",
            500,
            "Failed to process the request(s): KeyError: 'x'",
        ),
        (
            "[TensorRT-LLM][ERROR] Assertion failed: Prompt length exceeds max_model_len "
            "(/src/cpp/runtime/x.cpp:149)\n1       0x7f3a4b5c6d7e /opt/tritonserver/libx.so(+0x1)",
            400,
            "[TensorRT-LLM][ERROR] Assertion failed: Prompt length exceeds max_model_len",
        ),
    ],
)
def test_a_clients_error_names_no_file_of_the_server(message: str, status: int, said: str) -> None:
    answer = of_message(message, 500)
    assert (answer.status, answer.message) == (status, said)


@pytest.mark.parametrize(
    ("message", "status", "code"),
    [
        ("Stub process 'bot_0_0' is not healthy.", 502, "engine_dead"),
        (
            "Failed to process the request(s) for model instance 'bot_0_0', message: KeyError: 'x'",
            500,
            "upstream_error",
        ),
        ("the lookup table is missing", 400, "upstream_refused"),
        ("image 1 is not a readable picture: send JPEG", 400, "invalid_image"),
        ("unknown LoRA 'fr'; this model has: de", 400, "invalid_value"),
    ],
)
def test_a_400_of_triton_is_judged_by_its_message(message: str, status: int, code: str) -> None:
    answer = of_message(message, 400)
    assert (answer.status, answer.code) == (status, code)
