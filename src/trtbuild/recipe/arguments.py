"""Engine arguments against what a release accepts."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any

from trtbuild.toolchain import EngineArgument

_TYPE_NAMES = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "list": "a list",
    "dict": "an object",
}


def engine_problems(
    settings: Mapping[str, Any], arguments: Mapping[str, EngineArgument]
) -> tuple[str, ...]:
    """What is wrong with engine settings, one sentence each, empty when nothing is."""
    problems = []
    for name, value in settings.items():
        argument = arguments.get(name)
        if argument is None:
            problems.append(_unknown(str(name), arguments))
        elif argument.refused and value is not None:
            problems.append(f"{name!r} cannot be set: {argument.refused}")
        elif not _fits(value, argument):
            problems.append(f"{name!r} must be {_wanted(argument)}, not {_shown(value)}")
    return tuple(problems)


def _unknown(name: str, arguments: Mapping[str, EngineArgument]) -> str:
    # People paste the command line's --max-model-len.
    plain = name.lstrip("-").replace("-", "_")
    close = difflib.get_close_matches(plain, arguments, n=3, cutoff=0.6)
    hint = f": did you mean {' or '.join(map(repr, close))}?" if close else ""
    return f"there is no engine argument {name!r}{hint}"


def _fits(value: Any, argument: EngineArgument) -> bool:
    if value is None:
        return argument.nullable or "any" in argument.types
    if not any(_is(value, kind) for kind in argument.types):
        return False
    if isinstance(value, list) and not _items_fit(value, argument):
        return False
    return _is_chosen(value, argument) and _is_within(value, argument)


def _items_fit(value: list[Any], argument: EngineArgument) -> bool:
    item = argument.items
    return len(value) >= argument.least and (item is None or all(_fits(one, item) for one in value))


def _is_chosen(value: Any, argument: EngineArgument) -> bool:
    if not argument.choices:
        return True
    if argument.fold and isinstance(value, str):
        return value.upper() in {str(choice).upper() for choice in argument.choices}
    return any(value == choice and type(value) is type(choice) for choice in argument.choices)


def _is_within(value: Any, argument: EngineArgument) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    low, high = argument.minimum, argument.maximum
    above, below = argument.above, argument.below
    return (
        (low is None or value >= low)
        and (high is None or value <= high)
        and (above is None or value > above)
        and (below is None or value < below)
    )


def _is(value: Any, kind: str) -> bool:
    if kind == "any":
        return True
    if isinstance(value, bool):
        return kind == "bool"
    if kind == "float":
        return isinstance(value, int | float)
    return type(value).__name__ == kind


def _wanted(argument: EngineArgument) -> str:
    if argument.choices:
        # An empty choice is the default's spelling, which nobody has to write.
        choices = [choice for choice in argument.choices if choice != ""]
        wanted = "one of " + ", ".join(map(json.dumps, choices))
    else:
        wanted = " or ".join(_TYPE_NAMES.get(kind, "anything") for kind in argument.types)
    wanted += _limits(argument)
    if argument.least:
        wanted += f" of at least {argument.least}"
    if argument.items:
        wanted += f", each {_wanted(argument.items)}"
    return f"{wanted} or null" if argument.nullable else wanted


def _limits(argument: EngineArgument) -> str:
    limits = (
        ("of at least", argument.minimum),
        ("above", argument.above),
        ("of at most", argument.maximum),
        ("below", argument.below),
    )
    if argument.minimum is not None and argument.maximum is not None:
        return f" from {argument.minimum:g} to {argument.maximum:g}"
    said = [f"{words} {limit:g}" for words, limit in limits if limit is not None]
    return f" {' and '.join(said)}" if said else ""


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
