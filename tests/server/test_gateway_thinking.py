"""A budget of thinking, with vLLM: it ends the thoughts of any model that it knows a mark for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from support.gateways import Served, run_as_served, serving
from support.smollm2 import CONTEXT, smollm2_served

pytestmark = pytest.mark.nightly

START, END = "<think>", "</think>"
ANSWER = 40


def test_no_more_is_thought_than_the_budget_allows(smollm2: Path, tmp_path: Path) -> None:
    template = tmp_path / "thinking.jinja"
    template.write_text("{{ messages[0].content }}<|im_start|>assistant\n" + START)
    tokenizer = Tokenizer.from_file(str(smollm2 / "tokenizer.json"))
    marks = {"reasoning_start_str": START, "reasoning_end_str": END}

    async def thought(served: Served, path: str, budget: int | None) -> int:
        """The tokens of the thoughts, after which the model goes on to answer."""
        body: dict[str, Any] = {
            "model": "smollm2",
            "messages": [{"role": "user", "content": "Once upon a time there was"}],
            "max_tokens": ANSWER,
            "temperature": 0,
        }
        if budget and path == "/v1/messages":
            body["thinking"] = {"type": "enabled", "budget_tokens": budget}
        elif budget:
            body["thinking_token_budget"] = budget
        answer = await served.post(path, **body)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        if path == "/v1/messages":
            parts = {part["type"]: part for part in found["content"]}
            thoughts, text = parts["thinking"]["thinking"], parts.get("text", {}).get("text")
        else:
            message = found["choices"][0]["message"]
            thoughts, text = message["reasoning"], message["content"]
        assert bool(text) == (budget is not None), found
        return len(tokenizer.encode(thoughts, add_special_tokens=False).ids)

    async def main(url: str) -> None:
        model = {"tokenizer": str(smollm2), "context_length": CONTEXT}
        model |= {"chat_template": str(template), "parser": "think"}
        async with serving(url, models={"smollm2": model}) as served:
            served.client.timeout = 120
            for path in ("/v1/messages", "/v1/chat/completions"):
                assert await thought(served, path, None) > 20
                for budget in (4, 12):
                    assert budget - 2 <= await thought(served, path, budget) <= budget

    with smollm2_served(
        smollm2, tmp_path / "work", enforce_eager=True, reasoning_config=marks
    ) as server:
        run_as_served(main(server.http))
