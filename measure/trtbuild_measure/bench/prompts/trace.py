"""A trace: when requests arrived and how long they were, one JSON object per line.

``timestamp`` in milliseconds (from any origin), ``input_length`` and ``output_length`` in tokens,
as published traces of LLM services have them; ``prompt`` instead of ``input_length`` gives text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trtbuild.errors import UsageError
from trtbuild_measure.bench.model import Prompt
from trtbuild_measure.bench.prompts.files import encodable, read_items
from trtbuild_measure.bench.prompts.lengths import LONGEST
from trtbuild_measure.bench.prompts.synthetic import SyntheticPrompts

_LATEST = 1e18
_FIX = 'each line needs "timestamp" (ms, not decreasing), "input_length", "output_length"'


@dataclasses.dataclass(frozen=True, slots=True)
class Trace:
    """Offsets in seconds and the prompt of each request."""

    offsets: tuple[float, ...]
    prompts: tuple[Prompt, ...]

    def __call__(self, number: int) -> Prompt:
        """Return the prompt with this number."""
        return self.prompts[number % len(self.prompts)]


def read_trace(path: Path, tokenizer: Any, *, seed: int = 0, speed: float = 1.0) -> Trace:
    """Read a trace; ``speed`` 2 plays it in half the time.

    Raises:
        UsageError: A line is invalid (the error has its number), or there is none.
    """
    offsets: list[float] = []
    prompts: list[Prompt] = []
    start, last = None, 0.0
    synthetic = SyntheticPrompts(tokenizer, lambda _: 1, lambda _: 1, seed=seed)
    for line, item in read_items(path, _FIX):
        where = f"{path}:{line}"
        moment = _number(item, "timestamp", where, lowest=0)
        start = moment if start is None else start
        if moment < last:
            raise UsageError("timestamp goes back", where=where, fix=_FIX)
        last = moment
        offsets.append((moment - start) / 1e3 / speed)
        prompts.append(_prompt(item, synthetic, where, line))
    if not offsets:
        raise UsageError("there is no request in the trace", where=str(path), fix=_FIX)
    return Trace(tuple(offsets), tuple(prompts))


def _prompt(item: Mapping[str, Any], synthetic: SyntheticPrompts, where: str, line: int) -> Prompt:
    output = int(_number(item, "output_length", where, lowest=1))
    text = item.get("prompt")
    if isinstance(text, str) and text:
        encodable(text, where)
        return synthetic.given(text, output)
    length = int(_number(item, "input_length", where, lowest=1))
    return synthetic.make(line, length, output)


def _number(item: Mapping[str, Any], key: str, where: str, *, lowest: float) -> float:
    value = item.get(key)
    most = _LATEST if key == "timestamp" else LONGEST
    if isinstance(value, int | float) and not isinstance(value, bool) and lowest <= value <= most:
        return float(value)
    raise UsageError(f"{key} is {value!r}", where=where, fix=_FIX)
