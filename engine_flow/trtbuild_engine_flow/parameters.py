"""The settings of TensorRT-LLM's engine flow: parameters of its Triton models, build options.

The C++ backend does not validate: an unknown boolean and a policy in the wrong case silently become
the default, and ``0,9`` is read as 0. So every value is checked here and printed in the form that
the backend accepts (``data/parameters.toml``, ``data/build_options.toml``).
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

from packaging.version import Version

from trtbuild.errors import UsageError
from trtbuild.toolchain import Toolchain, releases
from trtbuild_engine_flow.resources import data_file

LAST_WITH_ENGINES = "1.2.1"
"""The last TensorRT-LLM that compiles engines; see ``engine_flow`` in ``toolchains.toml``."""

_WANTED = {
    "int": "a whole number",
    "float": "a number, with a point and not a comma",
    "bool": "true or false",
    "str": "text",
    "flag": "true or false",
    "switch": "true or false",
    "list": "a list of words",
    "ints": "a whole number or a list of them",
    "sets": "a list of lists such as [[0, 1], [2, 3]], or text such as '0,1;2,3'",
    "tree": "a list of lists such as [[0], [0, 1]]",
}

_NUMBERS = {"int": r"[+-]?\d+", "float": r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One parameter of a Triton model, or one option of ``trtllm-build``.

    Attributes:
        name: Its name in a recipe, and in ``config.pbtxt`` or on the command line.
        type: ``int``, ``float``, ``bool``, ``str``, ``flag``, ``switch``, ``list``, ``ints``,
            ``sets`` or ``tree``; see the data files.
        models: The models whose configuration has it; empty for a build option.
        minimum, maximum: Bounds of each number; with ``above`` the minimum is not allowed itself.
        choices: The allowed texts, case-sensitive; empty: any.
        since, until: The first TensorRT-LLM that reads it, the first that no longer does.
        since_in: A later ``since`` of one of the models.
        former, former_since: What the backend read before ``since``, and from which release on.
        source: The function of the backend, or the file, that reads it.
        required: The C++ throws when the key is absent, even if its value may be empty.
        fixed: Whether trtbuild sets it, so that a recipe cannot.
        unread: Why the models that trtbuild writes do not read it; empty: they do.
        in_config: Part of the configuration itself, not one of its ``parameters``.
        meaning: One line for users.
        choices_since: The first TensorRT-LLM with a choice that not all releases have.
    """

    name: str
    type: str
    models: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    above: bool = False
    choices: tuple[str, ...] = ()
    since: str = ""
    until: str = ""
    since_in: Mapping[str, str] = field(default_factory=dict)
    former: str = ""
    former_since: str = ""
    source: str = ""
    required: bool = False
    fixed: bool = False
    unread: str = ""
    in_config: bool = False
    meaning: str = ""
    choices_since: Mapping[str, str] | None = None

    def known_to(self, release: str, model: str = "") -> bool:
        """Whether TensorRT-LLM ``release`` reads it, in ``model`` or in any, under either name."""
        key = Version(release)
        since = self.since_in.get(model) or self.former_since or self.since
        early = since and key < Version(since)
        late = self.until and key >= Version(self.until)
        return not early and not late

    def choice_since(self, value: Any, release: str) -> str:
        """Return the release that ``value``, or a word of it, requires; ``""`` if any."""
        words = value if isinstance(value, list) else [value]
        waits = [(self.choices_since or {}).get(str(word), "") for word in words]
        late = [one for one in waits if one and Version(release) < Version(one)]
        return max(late, key=Version, default="")

    def choices_of(self, release: str) -> tuple[str, ...]:
        """Return the choices in TensorRT-LLM ``release``."""
        return tuple(one for one in self.choices if not self.choice_since(one, release))

    def key(self, release: str) -> str:
        """Return the name by which TensorRT-LLM ``release`` reads it."""
        older = self.former and Version(release) < Version(self.since)
        return self.former if older else self.name

    def problem(self, value: Any) -> str:
        """Return what is wrong with ``value``, a sentence; ``""`` if it is valid."""
        said = f"{self.name}={_shown(value)}"
        if not _is(value, self.type):
            return f"{said} is not {_WANTED[self.type]}"
        for word in value if isinstance(value, list) else [value]:
            if self.choices and word not in self.choices:
                wrong = f"{self.name}={_shown(word)}"
                return f"{wrong} is not one of {', '.join(self.choices)}{_case(word, self.choices)}"
        for number in _numbers(value):
            if self.minimum is not None and (
                number < self.minimum or (self.above and number == self.minimum)
            ):
                return f"{said} is not {'above' if self.above else 'at least'} {self.minimum:g}"
            if self.maximum is not None and number > self.maximum:
                return f"{said} is more than {self.maximum:g}"
            if isinstance(number, int) and number > self._widest():
                return f"{said} is more than the server can hold: {self._widest()} at most"
        return ""

    def _widest(self) -> int:
        """Sizes and times are read as 64 bits, all other integers as 32."""
        return 2**63 - 1 if self.name.endswith(("_bytes", "_microseconds")) else 2**31 - 1

    def printed(self, value: Any) -> str:
        """Return ``value``, checked by :meth:`problem`, in the form that the C++ reads."""
        if isinstance(value, bool):
            return "true" if value else "false"
        if self.type == "float":
            return repr(float(value))
        if self.type == "tree" and not isinstance(value, str):
            return ",".join("{" + ",".join(map(str, row)) + "}" for row in value)
        if self.type == "sets" and not isinstance(value, str):
            ids = value if isinstance(value, list) else [value]  # one GPU may be a number
            rows = ids if ids and isinstance(ids[0], list) else [ids]
            return ";".join(",".join(map(str, row)) for row in rows)
        if self.type in {"ints", "list"} and isinstance(value, list):
            return ",".join(map(str, value))
        return str(value)

    def text_problem(self, text: str) -> str:
        """Return what is wrong with a value in an existing ``config.pbtxt``; ``""`` if nothing."""
        if not text or text.startswith("${"):
            return ""
        if self.type == "bool":
            fine = text in {"True", "true", "TRUE", "1", "False", "false", "FALSE", "0"}
            return "" if fine else f"{self.name}={text!r} is read as its default, not as a boolean"
        value: Any = text
        if self.type in _NUMBERS:
            if not re.fullmatch(_NUMBERS[self.type], text.strip()):
                return f"{self.name}={text!r} is not {_WANTED[self.type]}"
            value = int(text) if self.type == "int" else float(text)
        elif self.type == "ints":
            if not re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*)*", text):
                return f"{self.name}={text!r} is not {_WANTED['ints']}"
            value = [int(part) for part in text.split(",")]
        return self.problem(value)


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind in {"bool", "flag", "switch"}
    check = _CHECKS.get(kind)
    return check is not None and check(value)


def _is_words(value: Any) -> bool:
    """Whether the words can be passed on a command line without being read as options."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(word, str) and re.fullmatch(r"\w[\w.-]*", word) for word in value)
    )


def _is_sets(value: Any) -> bool:
    if isinstance(value, str):
        return re.fullmatch(r"\d+(,\d+)*(;\d+(,\d+)*)*", value) is not None
    return isinstance(value, int) or _ints(value) or _rows(value)


def _is_tree(value: Any) -> bool:
    if isinstance(value, str):
        row = r"\s*\{\s*\d+(\s*,\s*\d+)*\s*\}\s*"
        return re.fullmatch(f"{row}(,{row})*", value) is not None
    return _rows(value)


def _ints(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(n, int) and not isinstance(n, bool) for n in value)
    )


def _rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(_ints(row) for row in value)


_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "int": lambda value: isinstance(value, int),
    "float": lambda value: isinstance(value, int | float) and math.isfinite(value),
    "str": lambda value: isinstance(value, str),
    "list": _is_words,
    "ints": lambda value: isinstance(value, int) or _ints(value),
    "sets": _is_sets,
    "tree": _is_tree,
}


def _numbers(value: Any) -> list[float]:
    if isinstance(value, bool | str):
        return []
    if isinstance(value, list):
        return [number for item in value for number in _numbers(item)]
    return [value]


def _shown(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _case(value: str, choices: tuple[str, ...]) -> str:
    """Report a wrong case: the C++ is case-sensitive and silently uses its default."""
    near = next((choice for choice in choices if choice.lower() == value.lower()), "")
    return f" (letters count: write {near})" if near else ""


@cache
def _table(file: str, kind: str) -> Mapping[str, Setting]:
    text = data_file(file).read_text(encoding="utf-8")
    settings: dict[str, Setting] = {}
    for row in tomllib.loads(text)[kind]:
        lists = {name: tuple(row[name]) for name in ("models", "choices") if name in row}
        settings[row["name"]] = Setting(**{**row, **lists})
    return settings


def triton_parameters() -> Mapping[str, Setting]:
    """Every parameter of the engine flow's models, by name."""
    return _table("parameters.toml", "parameter")


@dataclass(frozen=True, slots=True)
class Ignored:
    """A parameter in NVIDIA's templates that no known release reads.

    Attributes:
        name: Its key in ``config.pbtxt``.
        why: Why it has no effect.
        instead: The parameter that took its place, empty when there is none.
    """

    name: str
    why: str
    instead: str = ""


@cache
def ignored_parameters() -> Mapping[str, Ignored]:
    """The parameters without an effect, by name."""
    text = data_file("parameters.toml").read_text(encoding="utf-8")
    return {row["name"]: Ignored(**row) for row in tomllib.loads(text)["ignored"]}


def build_options() -> Mapping[str, Setting]:
    """Every option of ``trtllm-build`` that a recipe may set, by name."""
    return _table("build_options.toml", "option")


def listed(toolchain: Toolchain) -> list[Mapping[str, Any]]:
    """The options of ``trtllm-build`` and the parameters of the Triton models in a release.

    Raises:
        UsageError: Its TensorRT-LLM compiles no engines.
    """
    if not toolchain.engine_flow:
        newest = next(row.triton for row in releases() if row.engine_flow)
        raise UsageError(
            f"Triton {toolchain.triton} compiles no engines",
            fix=f"use {newest} or older, or trtllm",
        )
    found = {**build_options(), **triton_parameters()}
    free = [one for one in found.values() if not one.fixed and not one.unread]
    known = [one for one in free if one.known_to(toolchain.trtllm)]
    more = [{"types": (one.type,), "choices": one.choices_of(toolchain.trtllm)} for one in known]
    return [{**asdict(one), **extra} for one, extra in zip(known, more, strict=True)]
