"""Golden prompts: what a deployment must answer, whatever else changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trtbuild.client import LLMClient, Sampling
from trtbuild.errors import ServerError, UsageError
from trtbuild.progress import SILENT, Progress
from trtbuild.repository import served_model
from trtbuild_deploy.jobs.steps import Step, shown

_SECONDS = 300.0
_SHOWN = 80  # characters of an answer


class GoldenPrompt(BaseModel):
    """A line of the file.

    Attributes:
        model: Whom to ask.
        prompt: The text, as the model's template takes it.
        contains: What the answer must contain, each of them.
        excludes: What it must not contain.
        max_tokens: The answer's length.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    prompt: str
    contains: tuple[str, ...] = Field(min_length=1)
    excludes: tuple[str, ...] = ()
    max_tokens: int = Field(default=64, ge=1)


def read_golden(path: Path) -> tuple[GoldenPrompt, ...]:
    """Read a file with a JSON object a line.

    Raises:
        UsageError: It cannot be read, has no prompt, or a line is not one.
    """
    fix = 'write {"model": "chat", "prompt": "2 + 2 =", "contains": ["4"]}, one a line'
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{str(path)!r} cannot be read: {error}", fix=fix) from None
    found: list[GoldenPrompt] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(GoldenPrompt.model_validate(json.loads(line)))
            except (ValidationError, ValueError, RecursionError) as error:
                raise UsageError(
                    f"line {number} is not a golden prompt: {_problem(error)}",
                    where=str(path),
                    fix=fix,
                ) from None
    if not found:
        raise UsageError(f"{str(path)!r} has no golden prompt", fix=fix)
    return tuple(found)


def _problem(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'the line'}: {first['msg']}"
    return str(error)


def ask_golden(
    repository: Path, url: str, prompts: Sequence[GoldenPrompt], progress: Progress = SILENT
) -> tuple[Step, ...]:
    """Ask each prompt greedily, so that the same server gives the same answer."""
    with LLMClient(url, "http", lambda name: served_model(repository, name)) as client:
        steps: list[Step] = []
        for number, one in enumerate(prompts, 1):
            progress.step(f"asking golden prompt {number} of {len(prompts)}")
            steps.append(_asked(client, number, one))
        return tuple(steps)


def _asked(client: LLMClient, number: int, one: GoldenPrompt) -> Step:
    name = f"golden prompt {number} of {one.model}"
    sampling = Sampling(max_tokens=one.max_tokens, temperature=0)
    try:
        text = client.answer(one.model, one.prompt, sampling, timeout=_SECONDS).text
    except ServerError as error:
        said = f"{error.what}: {error.where}".removesuffix(": ")
        return Step(name, False, shown(said), "see the server's log")
    lacking = [part for part in one.contains if part not in text]
    found = [part for part in one.excludes if part in text]
    if not lacking and not found:
        return Step(name, True, "as expected")
    words = [f"without {part!r}" for part in lacking] + [f"with {part!r}" for part in found]
    said = f"{text[:_SHOWN]!r} is {' and '.join(words)}"
    return Step(name, False, said, "compare weights, quantization and chat template with before")
