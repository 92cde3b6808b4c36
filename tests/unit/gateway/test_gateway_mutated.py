"""Mutated bodies: every answer is one of OpenAI's, and none is a fault of the gateway."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from support.fake_triton import FakeTriton
from support.gateways import Served, in_front
from support.lanes import rounds
from trtbuild_gateway.access.patterns import NAMES

CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "x"},
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": "r"},
    ],
    "temperature": 0.5,
    "n": 2,
    "stop": ["x"],
    "logit_bias": {"5": 1},
    "logprobs": True,
    "top_logprobs": 2,
    "seed": 3,
    "stream": True,
    "stream_options": {"include_usage": True},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
    "max_completion_tokens": 4,
}
REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": "m", "prompt": ["a", [1, 2]], "echo": True, "logprobs": 1},
    "/v1/messages": {
        "model": "m",
        "max_tokens": 4,
        "system": [{"type": "text", "text": "s"}],
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f"}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1"}]},
        ],
        "tools": [{"name": "f", "input_schema": {}}],
        "tool_choice": {"type": "auto"},
        "output_config": {"format": {"type": "json_schema", "schema": {}}},
    },
    "/v1/responses": {
        "model": "m",
        "instructions": "s",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text"}]},
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "r"},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": {}}],
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function"}]},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}},
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["message.output_text.logprobs"],
        "metadata": {"a": "b"},
        "stream": True,
    },
    "/v1/embeddings": {"model": "m", "input": ["a", [1]], "dimensions": 3},
    "/v1/rerank": {"model": "m", "query": {"text": "a"}, "documents": ["b", {"text": "c"}]},
    "/v1/score": {"model": "m", "text_1": "a", "text_2": ["b"]},
    "/v1/classify": {"model": "m", "input": ["a"]},
    "/tokenize": {"model": "m", "messages": [{"role": "user", "content": "a"}]},
    "/detokenize": {"tokens": [1, 2, 3]},
}
VALUES: list[Any] = [
    None, True, 0, -1, 2**63, 1e308, 0.5, "", "m", "\ud800", "\x00", "é" * 99, [], [[]], [None],
    [1], ["a"], {}, {"a": 1}, {"type": "text"}, {"type": "image_url", "image_url": {"url": "x"}},
    {"text": 5}, {"type": "function"}, [{"role": "user"}], [[[[[]]]]],
]  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container with a key or index of it."""
    if isinstance(value, dict):
        found = [(value, key) for key in value]
    elif isinstance(value, list):
        found = [(value, at) for at in range(len(value))]
    else:
        return []
    return found + [more for container, key in found for more in places(container[key])]


def mutated(random_: random.Random, request: dict[str, Any]) -> bytes:
    made = copy.deepcopy(request)
    for _ in range(random_.choice((1, 1, 2, 3))):
        known = places(made)
        if not known:
            break
        container, key = random_.choice(known)
        if random_.random() < 0.15:
            del container[key]
        else:
            container[key] = copy.deepcopy(random_.choice(VALUES))
    return json.dumps(made).encode()


@pytest.mark.slow
@pytest.mark.parametrize("access", [False, True])
def test_no_body_is_a_fault_of_the_gateway(access: bool, tmp_path: Path) -> None:
    audit = {"path": str(tmp_path / "audit.jsonl"), "prompts": True}
    rule = {"find": list(NAMES), "do": "log"}  # to mask would refuse log probabilities
    checked = {"audit": audit, "masking": {"default": [rule]}} if access else {}
    random_ = random.Random(14)

    async def test(_: FakeTriton, served: Served) -> None:
        wrong = []
        for _ in range(rounds(200, 10_000)):
            path = random_.choice(list(REQUESTS))
            body = mutated(random_, REQUESTS[path])
            answer = await served.client.post(path, content=body)
            if answer.status_code not in (200, 400, 404, 413, 502):  # 502: the script's fault
                wrong.append((path, body, answer.text))
        assert wrong == []

    in_front(test, access=checked)
