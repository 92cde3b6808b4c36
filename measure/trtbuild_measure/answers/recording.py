"""Recorded answers as a file: JSON Lines, first what was recorded, then a line for each prompt."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtbuild import __version__
from trtbuild.errors import BuildError, UsageError
from trtbuild.files import atomic_write
from trtbuild_measure.answers.model import Answer, Step, Token
from trtbuild_measure.answers.prompts import Prompt

FORMAT = "trtbuild-golden/1"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A prompt and its answer."""

    prompt: Prompt
    answer: Answer


@dataclass(frozen=True, slots=True)
class Recording:
    """Answers of a model.

    Attributes:
        target: The address that was asked.
        noise: Largest change of a margin when the same was asked again in other batches, in nats.
        answers: The answers.
    """

    target: str
    noise: float
    answers: tuple[Recorded, ...]


def write(path: Path, recording: Recording) -> None:
    """Write the whole file; after an error the old one stays.

    Raises:
        BuildError: It cannot be written.
    """
    head = {
        "format": FORMAT,
        "trtbuild": __version__,
        "target": recording.target,
        "noise": recording.noise,
    }
    rows = (head, *(_row(one) for one in recording.answers))
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    try:
        atomic_write(path, text.encode("utf-8", "surrogatepass"))
    except OSError as error:
        raise BuildError(
            f"the recording could not be written: {error}",
            where=str(path),
            fix="make room, or name another file with -o",
        ) from error


def _row(one: Recorded) -> dict[str, Any]:
    answer = one.answer
    asked = one.prompt.model_dump(mode="json", exclude_defaults=True)
    return {
        **asked,
        "text": answer.text,
        "prompt_tokens": answer.prompt_tokens,
        "prompt_count": answer.prompt_count,
        "steps": [
            {
                "token": step.token,
                "text": step.text,
                "logprob": step.logprob,
                "margin": step.margin,
                "others": step.others,
            }
            for step in answer.steps
        ],
    }


def read(path: Path) -> Recording:
    """Return a recording.

    Raises:
        UsageError: The file cannot be read or is none.
    """
    fix = "write one with `trtbuild eval golden record PROMPTS --target TARGET -o FILE`"
    number = 0
    try:
        with path.open(encoding="utf-8", errors="surrogatepass") as lines:  # as it is written
            head = json.loads(next(lines, "{}"))
            if not isinstance(head, dict) or head.get("format") != FORMAT:
                raise ValueError(f"it does not begin with the format {FORMAT!r}")
            rows = []
            for number, line in enumerate(lines, 2):  # noqa: B007 - for the error
                rows.append(_recorded(json.loads(line)))
            if not rows:
                raise ValueError("it has no answers")
            noise = float(head["noise"])
            if not math.isfinite(noise):
                raise ValueError(f"its noise is {noise}, so that every answer would pass")
            return Recording(str(head["target"]), noise, tuple(rows))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", fix="check the path") from None
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        where = f"{path}:{number}" if number else str(path)
        why = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"{path} is not a recording: {why}", where=where, fix=fix) from None


def _recorded(row: Mapping[str, Any]) -> Recorded:
    asked = {name: row[name] for name in Prompt.model_fields if name in row}
    tokens = row["prompt_tokens"]
    answer = Answer(
        str(row["text"]),
        tuple(_steps(row["steps"])),
        None if tokens is None else tuple(map(int, tokens)),
        row["prompt_count"],
    )
    if not answer.steps:
        raise ValueError("an answer has no tokens")
    return Recorded(Prompt.model_validate(asked), answer)


def _steps(rows: Iterable[Mapping[str, Any]]) -> Iterable[Step]:
    for row in rows:
        others = tuple((_token(token), float(logprob)) for token, logprob in row["others"])
        yield Step(_token(row["token"]), str(row["text"]), float(row["logprob"]), others)


def _token(value: Any) -> Token:
    if not isinstance(value, int | str):
        raise TypeError(f"{value!r} is not a token")
    return value
