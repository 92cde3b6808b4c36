"""The published outputs of ``canitoolcall`` through a gateway.

A model plays each output: its prompt is the pieces in base64, then the end of the prompt that the
output followed. :data:`TEMPLATE` renders it.
"""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from canitoolcall import checks
from canitoolcall.fixtures import Fixture, load_fixtures
from canitoolcall.results import Observation, ParsedToolCall, ParseResult, Status

from support.gateways import Served
from support.paths import ROOT

TEMPLATE = "{{ messages[0].content }}\n{{ ending }}"
FIXTURES = load_fixtures()
AT_ONCE = 16


@cache
def judging() -> ModuleType:
    """scripts/judge_parsers.py."""
    spec = importlib.util.spec_from_file_location("judge", ROOT / "scripts/judge_parsers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["judge"] = module
    spec.loader.exec_module(module)
    return module


def models(folder: Path, **more: str) -> dict[str, dict[str, str]]:
    """The settings of a model for each family; ``folder`` has a tokenizer with the template."""
    names = {judging().family_of(fixture.models[0]) for fixture in FIXTURES}
    return {name: {"tokenizer": str(folder), "parser": name, **more} for name in names}


def played(prompt: str) -> tuple[list[str], str]:
    """What the prompt says is to be answered: the pieces and the reason."""
    pieces, reason = json.loads(base64.b64decode(prompt.partition("\n")[0]))
    return pieces, reason


async def judged(served: Served) -> Counter[Status]:
    """Ask for every output, whole and as a stream; count how they were parsed."""
    found: list[Status] = []
    for first in range(0, len(FIXTURES), AT_ONCE):
        some = FIXTURES[first : first + AT_ONCE]
        found += await asyncio.gather(*(_status(served, fixture) for fixture in some))
    return Counter(found)


async def _status(served: Served, fixture: Fixture) -> Status:
    judge = judging()
    pieces = dict(judge.splits(fixture.raw_output))["random 1"]
    answer = [pieces, "length" if "truncated" in fixture.tags else "stop"]
    asked = {
        "model": judge.family_of(fixture.models[0]),
        "messages": [
            {"role": "user", "content": base64.b64encode(json.dumps(answer).encode()).decode()}
        ],
        "chat_template_kwargs": {"ending": judge.prompt_of(fixture)},
        "tools": fixture.tools,
        "max_tokens": 4096,
    }
    whole = await served.post("/v1/chat/completions", **asked)
    stream = await served.post("/v1/chat/completions", **asked, stream=True)
    assert stream.text.endswith("data: [DONE]\n\n"), (fixture.id, stream.text[-300:])
    deltas = [
        choice["delta"]
        for line in stream.text.splitlines()
        if line.startswith("data: {")
        for choice in json.loads(line[6:])["choices"]
    ]
    seen = Observation(_result(whole.json()["choices"][0]["message"]), {"one": _result(*deltas)})
    return checks.case_status(checks.run_checks(fixture, judge.FAMILIES[fixture.family], seen))


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
