#!/usr/bin/env python3
"""Judge the gateway's parsers by the published outputs of real models in ``canitoolcall``.

The fixtures are another project's test data: they are read from the installed package and stay
there (``pip install canitoolcall==0.1.1``). Each answer is parsed whole, one character at a time,
in pieces as of tokens, and cut in two at every place; all must give the same message.

    python scripts/judge_parsers.py [--family NAME] [--failures]
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from canitoolcall import checks
from canitoolcall.fixtures import Fixture, load_families, load_fixtures
from canitoolcall.results import Observation, ParsedToolCall, ParseResult, Status

from trtbuild_gateway.parsing import Content, FamilyParser, Reasoning, families

# The family of each reference model; in a gateway it is found by the model's own files.
MODELS = {
    "deepseek-ai/DeepSeek-V3-0324": "deepseek",
    "deepseek-ai/DeepSeek-V3.1": "deepseek",
    "deepseek-ai/DeepSeek-V3.2": "deepseek-dsml",
    "deepseek-ai/DeepSeek-V4": "deepseek-dsml",
    "google/gemma-4": "gemma4",
    "zai-org/GLM": "glm",
    "openai/gpt-oss": "harmony",
    "moonshotai/Kimi-K2": "kimi-k2",
    "moonshotai/Kimi-K3": "kimi-k3",
    "meta-llama/Llama-3": "llama3",
    "meta-llama/Llama-4": "pythonic",
    "mistralai/": "mistral",
    "Qwen/Qwen3-Coder": "qwen3-xml",
    "Qwen/Qwen3.": "qwen3-xml",
    "Qwen/Qwen3-": "hermes",
}
FAMILIES = load_families()
_UNIT = re.compile(r"<[|｜][^<>\s]{1,24}>|</?[\w:]{1,20}>|\w{1,6}|\s+|.", re.DOTALL)


def family_of(model: str) -> str:
    """Return the name of a model's family."""
    return MODELS[max((one for one in MODELS if model.startswith(one)), key=len)]


def parse(fixture: Fixture, pieces: Sequence[str], prompt: str) -> ParseResult:
    """Parse one answer from its pieces, by the events and by the message."""
    parser = FamilyParser(
        families()[family_of(fixture.models[0])], prompt=prompt, tools=fixture.tools
    )
    events = [event for piece in pieces for event in parser.feed(piece)]
    # A cut answer is known to be one: the engine says so.
    ended = parser.finish("length" if "truncated" in fixture.tags else "stop")
    events += ended.events
    message = ended.message
    content = "".join(event.text for event in events if isinstance(event, Content)) or None
    reasoning = "".join(event.text for event in events if isinstance(event, Reasoning)) or None
    if parser.failed or (content, reasoning) != (message.content, message.reasoning):
        raise AssertionError(f"{fixture.id}: the events differ from the message")
    calls = tuple(ParsedToolCall(call.name, call.arguments) for call in message.tool_calls)
    return ParseResult(content=content, reasoning_content=reasoning, tool_calls=calls)


def splits(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield every way to cut an answer, by name."""
    units = _UNIT.findall(text)
    yield "one", [text]
    yield "token", units
    yield "characters", list(text)
    for seed in range(1, 6):
        source, pieces, left = random.Random(seed), [], list(units)
        while left:
            count = source.randint(1, 8)
            pieces.append("".join(left[:count]))
            del left[:count]
        yield f"random {seed}", pieces


def prompt_of(fixture: Fixture) -> str:
    """Return the end of the rendered prompt."""
    if fixture.generation_prompt is not None:
        return str(fixture.generation_prompt)
    reference = FAMILIES[fixture.family].reference_for(fixture.models[0])
    return (reference.default_generation_prompt if reference else "") or ""


def judge(fixture: Fixture, *, step: int) -> tuple[Status, list[str], int, int]:
    """Return the worst status, the reasons, and how many streams and cuts differ.

    Args:
        fixture: The answer.
        step: Characters between the places at which it is cut in two.
    """
    family, prompt, text = FAMILIES[fixture.family], prompt_of(fixture), fixture.raw_output
    whole = parse(fixture, [text], prompt)
    streams = {name: parse(fixture, pieces, prompt) for name, pieces in splits(text)}
    rows = checks.run_checks(fixture, family, Observation(nonstream=whole, streams=streams))
    reasons = [f"{row.check}: {row.detail}" for row in rows if row.status is not Status.PASS]
    differing = sum(stream != whole for stream in streams.values())
    cuts = range(1, len(text), step)
    differing_cuts = sum(parse(fixture, [text[:at], text[at:]], prompt) != whole for at in cuts)
    return checks.case_status(rows), list(dict.fromkeys(reasons)), differing, differing_cuts


def main() -> int:
    """Print how many fixtures pass, by family."""
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--family", action="append", help="only this family of canitoolcall")
    options.add_argument("--failures", action="store_true", help="print why fixtures fail")
    options.add_argument("--step", type=int, default=1, help="cut at every so many characters")
    given = options.parse_args()
    counts: dict[str, Counter[str]] = {}
    streams = cuts = 0
    for fixture in load_fixtures(families=given.family):
        status, reasons, differing, differing_cuts = judge(fixture, step=given.step)
        counts.setdefault(fixture.family, Counter())[status.value] += 1
        streams, cuts = streams + differing, cuts + differing_cuts
        if given.failures and status is not Status.PASS:
            print(f"{fixture.id} {status.value}\n    " + "\n    ".join(reasons[:3]))
    total = sum(counts.values(), Counter())
    for name, found in {**counts, "total": total}.items():
        passed = found["pass"] + found["soft_pass"]
        print(
            f"{name:14} {passed:3} of {sum(found.values()):3}  ({found['soft_pass']} but for space)"
        )
    print(f"streams that differ: {streams}; two pieces that differ: {cuts}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
