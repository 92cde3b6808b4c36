"""Endpoints that answer in another form than OpenAI's: one error, and no traceback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from trtbuild.errors import ServerError
from trtbuild.wire.response import Response
from trtbuild_measure.answers.harness import examine
from trtbuild_measure.answers.openai import OpenAIModel
from trtbuild_measure.answers.prompts import Prompt
from trtbuild_measure.answers.triton import TritonModel


class Answering(OpenAIModel):
    """Answers everything alike."""

    def __init__(self, body: str) -> None:
        super().__init__("http://127.0.0.1:1/v1", "m", timeout=1)
        self._answer = Response(status=200, body=body.encode())

    async def fetch(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Response:
        return self._answer


@pytest.mark.parametrize("count", ["Infinity", '"x"', "[]", "NaN", "{}"])
def test_a_count_of_tokens_that_is_none(count: str) -> None:
    model = Answering(f'{{"choices": [{{"text": "a"}}], "usage": {{"prompt_tokens": {count}}}}}')
    with pytest.raises(ServerError, match="no answer of OpenAI's API"):
        asyncio.run(model.ask(Prompt(prompt="x", max_tokens=1), logprobs=False))


@pytest.mark.parametrize("tokens", ["[Infinity]", '"abc"', "true", "7"])
def test_tokens_of_a_prompt_that_are_none(tokens: str) -> None:
    rows = {"tokens": ["a"], "token_logprobs": [-1], "top_logprobs": [{"a": -1}]}
    choice = json.dumps({"text": "a", "logprobs": rows})
    model = Answering(f'{{"choices": [{choice}], "tokens": {tokens}, "max_model_len": "x"}}')
    asked = model.ask(Prompt(prompt="x", max_tokens=1), logprobs=True)
    assert asyncio.run(asked).prompt_tokens is None
    found = asyncio.run(examine(model))
    assert "log probabilities of 1 tokens" in found.problem
    assert found.context is None


@pytest.mark.parametrize("position", [-0.5, {"1": {"logprob": 10**400}}, {}, {"a": {}}, None])
def test_positions_of_a_server_that_are_none(position: Any) -> None:
    model = TritonModel("127.0.0.1:1", "m", "http", timeout=1)
    with pytest.raises(ServerError, match="log probabilities of another form"):
        model._step(position)
