#!/usr/bin/env python3
"""Measure what the gateway's parsers cost for each token, beside transformers' ResponseParser.

    python benchmarks/bench_parsers.py

Prints microseconds of CPU a delta of five characters, for text and for the arguments of a call, and
the cost of importing each. transformers is measured only if it is installed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from trtbuild_gateway.parsing import FamilyParser, families

TEMPLATE = {
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "thinking": {"open": "<think>", "close": "</think>"},
        "tool_calls": {
            "open": "<tool_call>",
            "close": "</tool_call>",
            "content": "json",
            "repeats": True,
        },
        "content": {},
    },
}
CALL = '<tool_call>{"name": "write", "arguments": {"text": "'
IMPORTS = {
    "trtbuild": "from trtbuild_gateway.parsing import families; families()['hermes']",
    "transformers": "from transformers.utils.chat_parsing import ResponseParser",
}


def pieces(start: str, count: int) -> list[str]:
    """Return an answer of so many deltas."""
    return [start, *(["word "] * count)]


def cost(make: Callable[[], Any], deltas: Sequence[str]) -> float:
    """Return microseconds of CPU a delta, the least of three runs."""
    runs = []
    for _ in range(3):
        feed = make().feed
        begun = time.process_time()
        for delta in deltas:
            feed(delta)
        runs.append(time.process_time() - begun)
    return min(runs) / len(deltas) * 1e6


def imported(code: str) -> str:
    """Return what importing costs a fresh process."""
    measured = (
        "import time; rss = lambda: int(open('/proc/self/statm').read().split()[1]) * 4096\n"
        "begun, before = time.process_time(), rss()\n"
        f"{code}\n"
        "took, used = time.process_time() - begun, rss() - before\n"
        "print(f'{took * 1e3:.0f} ms, {used / 2**20:.0f} MB')"
    )
    command = [sys.executable, "-c", measured]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    return ran.stdout.strip() or "not installed"


def main() -> None:
    """Print the table."""
    makers: dict[str, Callable[[], Any]] = {"trtbuild": lambda: FamilyParser(families()["hermes"])}
    try:
        from transformers.utils.chat_parsing import ResponseParser
    except ImportError:
        pass
    else:
        makers["transformers"] = lambda: ResponseParser(TEMPLATE, prefix="")
    for name, make in makers.items():
        print(f"{name}: import {imported(IMPORTS[name])}")
        for count in (1_000, 10_000, 100_000):
            text, call = cost(make, pieces("", count)), cost(make, pieces(CALL, count))
            print(f"  {count:7,} deltas: {text:5.1f} µs of text, {call:5.1f} µs in a call")


if __name__ == "__main__":
    main()
