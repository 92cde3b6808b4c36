"""The gateway by the judgement of others: Anthropic's client, and the suites of ``llm-comply``."""

from __future__ import annotations

import asyncio
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from support.gateways import Served, client, run_as_served
from support.scripted_model import scripted

SUITES = {
    "openai_chat": "OPENAI_CHAT_TESTS",
    "open_responses": "OPEN_RESPONSES_TESTS",
    "anthropic": "ANTHROPIC_TESTS",
}
TOOLS: Any = [{"name": "add", "input_schema": {"type": "object"}}]
ASKED: Any = {
    "model": "scripted",
    "max_tokens": 50,
    "messages": [{"role": "user", "content": "Hello"}],
}


def failures(url: str, suite: str) -> list[str]:
    """What fails of a suite; one test of each is for models of certain names only."""
    from llm_comply.config import ComplianceConfig
    from llm_comply.runner import TestRunner
    from llm_comply.schema import SpecLoader

    tests = getattr(import_module(f"llm_comply.tests.{suite}"), SUITES[suite])
    spec = files("llm_comply.specs") / f"{suite.replace('open_', 'open')}.json"
    config = ComplianceConfig(base_url=f"{url}/v1", api_key="none", model="scripted")
    results = TestRunner(config, tests, SpecLoader(str(spec))).run_all().results
    assert [one.status.value for one in results].count("skipped") == 1
    return [f"{one.id}: {one.errors}" for one in results if one.status.value == "failed"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")
def test_the_suites_of_llm_comply(tmp_path: Path) -> None:
    async def run() -> None:
        async with scripted(tmp_path) as served:
            for suite in SUITES:
                assert await asyncio.to_thread(failures, served.url, suite) == []

    run_as_served(run())


@pytest.mark.slow
def test_anthropics_client(tmp_path: Path) -> None:
    import anthropic  # a second in every process that only collects the tests

    async def ask(served: Served) -> None:
        async with anthropic.AsyncAnthropic(base_url=served.url, api_key="none") as asking:
            answer = await asking.messages.create(**ASKED)
            assert answer.content[0].to_dict()["text"] == "Hello there, it is a sunny day."
            async with asking.messages.stream(**ASKED, tools=TOOLS) as stream:
                async for _ in stream:
                    pass
                last = await stream.get_final_message()
            assert (last.stop_reason, last.content[-1].type) == ("tool_use", "tool_use")
            counted = await asking.messages.count_tokens(
                model="scripted", messages=ASKED["messages"]
            )
            assert counted.input_tokens == answer.usage.input_tokens
            with pytest.raises(anthropic.NotFoundError, match="there is"):
                await asking.messages.create(**{**ASKED, "model": "other"})

    async def run() -> None:
        async with scripted(tmp_path) as served:
            await ask(served)
            models = [model.id async for model in client(served).models.list()]
            assert "scripted" in models
            assert (await client(served).models.retrieve("scripted")).object == "model"

    run_as_served(run())
