"""Distributions of lengths, as written on the command line."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from trtbuild.errors import UsageError

Lengths = Callable[[random.Random], int]

_NUMBER = r"\d+(?:\.\d+)?"
_CALL = re.compile(
    rf"(?P<name>uniform|normal|lognormal)[(:](?P<a>{_NUMBER})[,:](?P<b>{_NUMBER})\)?"
)
LONGEST = 1_000_000
"""Tokens; more is a slip of the keyboard."""


def parse_lengths(text: str, option: str) -> Lengths:
    """Parse ``128``, ``128,512`` (one of them), ``uniform:64:256``, ``normal:128:32``…

    For ``normal`` and ``lognormal`` the numbers are mean and standard deviation in tokens; draws
    are rounded and at least 1.

    Raises:
        UsageError: The text is none of these.
    """
    plain = text.replace(" ", "")
    if re.fullmatch(r"\d{1,9}(,\d{1,9})*", plain):
        choices = [int(part) for part in plain.split(",")]
        if all(1 <= choice <= LONGEST for choice in choices):
            return lambda source: source.choice(choices)
    elif match := _CALL.fullmatch(plain):
        low, high = float(match["a"]), float(match["b"])
        made = _DRAWS[match["name"]](low, high) if 1 <= low <= LONGEST >= high else None
        if made is not None:
            return made
    raise UsageError(
        f"{text!r} is not a length in tokens",
        where=option,
        fix=f"write {option} 128, or 128,512, uniform:64:256, normal:128:32, lognormal:128:64",
    )


def _uniform(low: float, high: float) -> Lengths | None:
    return (lambda source: source.randint(int(low), int(high))) if low <= high else None


def _normal(mean: float, deviation: float) -> Lengths | None:
    return lambda source: _within(source.gauss(mean, deviation))


def _lognormal(mean: float, deviation: float) -> Lengths | None:
    import math

    variance = math.log(1 + (deviation / mean) ** 2)
    middle = math.log(mean) - variance / 2
    return lambda source: _within(source.lognormvariate(middle, math.sqrt(variance)))


def _within(drawn: float) -> int:
    return round(min(max(1, drawn), LONGEST))


_DRAWS = {"uniform": _uniform, "normal": _normal, "lognormal": _lognormal}
