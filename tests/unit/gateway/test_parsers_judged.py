"""Published outputs of real models, of ``canitoolcall``, through the parsers and the gateway."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from canitoolcall import checks
from canitoolcall.fixtures import Fixture, load_fixtures
from canitoolcall.results import Observation, ParsedToolCall, ParseResult, Status

from support.fake_triton import fake_triton, words
from support.gateways import Served, serving, write_tokenizer
from support.paths import ROOT
from support.scripted_http import Step

pytestmark = pytest.mark.slow
FIXTURES = load_fixtures()


@pytest.fixture(scope="module")
def judging() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("judge", ROOT / "scripts/judge_parsers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["judge"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["judge"]


def test_all_published_outputs_are_parsed_in_any_pieces(judging: ModuleType) -> None:
    found = Counter[Status]()
    for fixture in FIXTURES:
        status, reasons, streams, cuts = judging.judge(fixture, step=23)
        assert (streams, cuts) == (0, 0), fixture.id
        assert status in (Status.PASS, Status.SOFT_PASS), (fixture.id, reasons)
        found[status] += 1
    assert found == {Status.PASS: 468, Status.SOFT_PASS: 1}


def test_all_published_outputs_pass_through_the_gateway(
    judging: ModuleType, tmp_path: Path
) -> None:
    # The prompt is the number of the answer and the end of the prompt that the answer followed.
    folder = write_tokenizer(tmp_path, "{{ messages[0].content }}\n{{ ending }}")
    names = {judging.family_of(fixture.models[0]) for fixture in FIXTURES}
    models = {name: {"tokenizer": str(folder), "parser": name} for name in names}

    def script(body: dict[str, Any]) -> Sequence[Step]:
        fixture = FIXTURES[int(body["text_input"].partition("\n")[0])]
        pieces = dict(judging.splits(fixture.raw_output))["random 1"]
        reason = "length" if "truncated" in fixture.tags else "stop"
        return words(*pieces, reason=reason)

    async def run() -> Counter[Status]:
        async with (
            fake_triton(**dict.fromkeys(names, script)) as triton,
            serving(triton.url, models=models) as served,
        ):
            found: list[Status] = []
            for first in range(0, len(FIXTURES), 16):
                some = range(first, min(first + 16, len(FIXTURES)))
                found += await asyncio.gather(*(_status(judging, served, at) for at in some))
            return Counter(found)

    assert asyncio.run(run()) == {Status.PASS: 468, Status.SOFT_PASS: 1}


async def _status(judging: ModuleType, served: Served, number: int) -> Status:
    fixture: Fixture = FIXTURES[number]
    asked = {
        "model": judging.family_of(fixture.models[0]),
        "messages": [{"role": "user", "content": str(number)}],
        "chat_template_kwargs": {"ending": judging.prompt_of(fixture)},
        "tools": fixture.tools,
    }
    whole = await served.post("/v1/chat/completions", **asked)
    stream = await served.post("/v1/chat/completions", **asked, stream=True)
    deltas = [
        choice["delta"]
        for line in stream.text.splitlines()
        if line.startswith("data: {")
        for choice in json.loads(line[6:])["choices"]
    ]
    seen = Observation(_result(whole.json()["choices"][0]["message"]), {"one": _result(*deltas)})
    return checks.case_status(checks.run_checks(fixture, judging.FAMILIES[fixture.family], seen))


def _result(*deltas: dict[str, Any]) -> ParseResult:
    texts = {"content": "", "reasoning_content": "", "reasoning": ""}
    calls: list[list[str]] = []
    for delta in deltas:
        for name in texts:
            texts[name] += delta.get(name) or ""
        for call in delta.get("tool_calls") or ():
            if "id" in call:
                calls.append([call["function"]["name"], ""])
            calls[call.get("index", -1)][1] += call["function"].get("arguments", "")
    assert texts["reasoning"] == texts["reasoning_content"]
    made = tuple(ParsedToolCall(name, arguments) for name, arguments in calls)
    content, reasoning = texts["content"] or None, texts["reasoning"] or None
    return ParseResult(content=content, reasoning_content=reasoning, tool_calls=made)
