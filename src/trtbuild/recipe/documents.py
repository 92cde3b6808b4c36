"""A YAML document read into a pydantic model: every problem at once, each with its line."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from trtbuild.errors import RecipeError
from trtbuild.located import yamltext

_Shape = TypeVar("_Shape", bound=BaseModel)

Place = list[str | int]
Problems = list[tuple[int, str]]
"""The line and the sentence of each."""
_LONGEST = 500  # characters of a sentence, which may quote a whole file
_NOT_KEYS = ("[key]", "constrained-str")
_PATTERNS = {
    r"^\d\d\.\d\d$": "look like YY.MM",
}


def read_text(path: Path, what: str, fix: str) -> str:
    """The text of a file; ``what`` is its noun in messages, ``fix`` is for a missing one.

    Raises:
        RecipeError: It is missing, cannot be read, or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise RecipeError(
            f"the {what} {path.name!r} does not exist", where=str(path), fix=fix
        ) from None
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise RecipeError(
            f"the {what} is not UTF-8 text: byte {error.start} is 0x{byte:02x}",
            where=str(path),
            fix="save it as UTF-8",
        ) from None
    except OSError as error:
        raise RecipeError(
            f"the {what} cannot be read: {error.strerror}",
            where=str(path),
            fix="name a readable file",
        ) from None


def mapping(
    text: str, where: str, what: str, start: str, *, as_text: Sequence[Sequence[str]] = ()
) -> tuple[dict[Any, Any], yaml.Node]:
    """The mapping in a document, with its nodes.

    Args:
        text: The document.
        where: The file's name in messages.
        what: Its noun.
        start: What such a file begins with.
        as_text: Keys (or pairs of section and key) whose numbers stay text, such as ``26.10``.

    Raises:
        RecipeError: It is not YAML, is empty, or is not a mapping.
    """
    try:
        node = yamltext.compose(text)
        if node is None:
            raise RecipeError(f"the {what} is empty", where=where, fix=f"give at least {start!r}")
        for *within, key in as_text:
            yamltext.keep_as_text(node, key, within="".join(within))
        data = yamltext.construct(node)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:
        # A number with 5000 digits; a value of another type than its tag says.
        raise _not_yaml(error, where, what) from None
    if not isinstance(data, dict):
        raise RecipeError(
            f"the {what} is a {kind_of(data)}, not a mapping of keys",
            where=where,
            fix=f"start it with {start!r}",
        )
    return data, node


def _not_yaml(error: Exception, where: str, what: str) -> RecipeError:
    mark = getattr(error, "problem_mark", None)
    at = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return RecipeError(f"the {what} is not YAML: {problem}", where=at, fix="correct the YAML there")


def validated(
    shape: type[_Shape],
    data: Any,
    node: yaml.Node,
    problems: Problems,
    at: Sequence[str] = (),
    *,
    written: Callable[[Place], Place] = lambda path: path,
    nearest: Callable[[Place], str] | None = None,
) -> _Shape | None:
    """``data`` as a ``shape``, or None with what is wrong added to ``problems``.

    Args:
        shape: The model.
        data: What YAML made of the section ``at``.
        node: The whole document's nodes, for lines.
        problems: Added to.
        at: Where in the document the section is.
        written: Maps a place of the model to the place in the document.
        nearest: The end of the sentence about an unknown key; by default the nearest known one.
    """
    # JSON mode, strictly: lists become tuples, but "yes" does not become true nor 5 a name.
    text = json.dumps(data, default=str, skipkeys=False)
    try:
        return shape.model_validate_json(text, strict=True)
    except ValidationError as error:
        suggestion = nearest or (lambda path: nearest_key(shape, path[len(at) :]))
        for item in error.errors(include_url=False):
            if (item["type"] == "too_short" and item["input"]) or "literal['']" in item["loc"]:
                continue  # the list only lost members that are reported; so is the other choice
            path = written([*at, *(part for part in item["loc"] if part not in _NOT_KEYS)])
            problems.append((yamltext.line_of(node, path), _sentence(item, path, suggestion)))
        return None


def _sentence(item: Any, path: Place, nearest: Callable[[Place], str]) -> str:
    """What pydantic found, said to somebody who edits YAML."""
    name = repr(dotted(path))
    kind, context = item["type"], item.get("ctx", {})
    wanted = str(item["msg"]).removeprefix("Input should be ").replace("an object", "a mapping")
    sentences = {
        "extra_forbidden": lambda: f"unknown key {name}{nearest(path)}",
        "missing": lambda: f"{name} is missing",
        "too_short": lambda: f"{name} is an empty list: give at least one",
        "string_too_short": lambda: f"{name} is empty",
        "literal_error": lambda: f"{name} must be {context['expected']}, not {item['input']!r}",
        "value_error": lambda: str(context["error"]),
        "hidden": lambda: f"{name} {item['msg']}",  # the value may be a secret
        "string_pattern_mismatch": lambda: (
            f"{name} must {_PATTERNS.get(context['pattern'], 'match ' + context['pattern'])}, "
            f"not {item['input']!r}"
        ),
    }
    given = f"{name} must be {wanted}, not {kind_of(item['input'])} {item['input']!r}"
    found = sentences.get(kind, lambda: given)()
    return found if len(found) <= _LONGEST else f"{found[:200]} … {found[-200:]}"


def dotted(path: Place) -> str:
    """A place as people write it: ``models[0].name``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def nearest_key(shape: type[BaseModel], path: Place) -> str:
    """The end of the sentence about the unknown key at ``path`` of a ``shape``."""
    owner: type[BaseModel] = shape
    for part in path[:-1]:
        owner = _section(owner, part) or owner
    return near(path[-1], {name: name for name in _keys(owner)})


def near(key: str | int, known: dict[str, str]) -> str:
    """The nearest of the ``known`` keys, which are shown as their values; all when none is."""
    close = difflib.get_close_matches(str(key), known, n=1, cutoff=0.6)
    if close:
        return f": did you mean {known[close[0]]!r}?"
    return f": known keys are {', '.join(known.values())}"


def _keys(shape: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field for name, field in shape.model_fields.items()}


def _section(shape: type[BaseModel], key: str | int) -> type[BaseModel] | None:
    """The model of a key's value; None when the key is an index or its value is not a model."""
    field = _keys(shape).get(str(key))
    return next(_models(field.annotation), None) if field else None


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def refusal(problems: Problems, where: str, what: str, fix: str) -> RecipeError:
    """One error for all problems of a document, by line."""
    problems = sorted(set(problems))
    if len(problems) == 1:
        line, text = problems[0]
        return RecipeError(text, where=f"{where}:{line}", fix=fix)
    details = tuple(f"{where}:{line}: {text}" for line, text in problems)
    return RecipeError(
        f"the {what} has {len(problems)} problems", where=where, fix=fix, details=details
    )


def kind_of(value: object) -> str:
    """A value's type in YAML's words."""
    names = {
        dict: "mapping",
        list: "list",
        str: "text",
        bool: "boolean",
        int: "number",
        float: "number",
        type(None): "null",
    }
    return names.get(type(value), type(value).__name__)
