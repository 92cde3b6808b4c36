"""Placeholders: template variables that were not filled in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from trtbuild.check.context import PLACEHOLDER, Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import Example, engine_parameters
from trtbuild.check.model import Severity
from trtbuild.check.unfilled import UNFILLED
from trtbuild.located.positions import Position

_NAMED = 8  # placeholders that a finding names


@rule(
    "TRT104",
    "no placeholder is left unfilled",
    fix="replace it with the value",
    severity=Severity.WARNING,
    needs_config=False,
    bad=[
        'parameters { key: "path" value { string_value: "${engine_dir}" } }',
        'backend: "${triton_backend}"',
        'parameters { key: "tokenizer_dir" value { string_value: "${tokenizer_dir}" } }',
        Example(engine_parameters(max_beam_width="${max_beam_width}"), base="engine"),
    ],
    good='parameters { key: "path" value { string_value: "/models/m/1" } }',
)
def no_placeholder(model: Model) -> Problems:
    """``${…}`` left by a template. Triton accepts it inside a string and the backend reads it
    later: as a ``backend`` or a Python model's ``tokenizer_dir`` it is an error. NVIDIA's templates
    of the engine flow leave optional parameters like this on purpose, and the backend uses the
    default: one info per model. All others are one warning."""
    keys = _keys_by_place(model)
    optional: list[tuple[str, Position]] = []
    others: list[tuple[str, Position]] = []
    for text, at in _left(model):
        key = keys.get((at.line, at.column), "")
        if reason := _fatal(model, key, at):
            message = f"the placeholder {text} was never filled in: {reason}"
            yield Problem(message, at, severity=Severity.ERROR)
        elif key and _is_optional(model, key):
            optional.append((key, at))
        elif not (key and _is_judged(model, key)):
            others.append((text, at))
    if others:
        yield Problem(_never_filled([text for text, _ in others]), others[0][1])
    if optional:
        names = [key for key, _ in optional]
        yield Problem(
            f"{_count(names, 'optional parameter')} still {'has' if len(names) == 1 else 'have'} "
            f"a placeholder, which means the default: {_listed(names)}",
            optional[0][1],
            fix="no change is needed, or fill in those that should not have the default",
            severity=Severity.INFO,
        )


def _left(model: Model) -> Iterator[tuple[str, Position]]:
    """Every placeholder in the text, comments aside, with its place."""
    for number, line in enumerate((model.text or "").splitlines(), start=1):
        code = line.partition("#")[0] if '"' not in line else line
        if code.lstrip().startswith("#"):
            continue
        for match in PLACEHOLDER.finditer(code):
            yield match.group(), Position(number, match.start() + 1, len(match.group()))


def _keys_by_place(model: Model) -> Mapping[tuple[int, int], str]:
    """The parameters whose whole value is a placeholder, by the place of the placeholder."""
    whole = (key for key, value in model.parameters().items() if PLACEHOLDER.fullmatch(value))
    places = ((key, model.at_parameter(key)) for key in whole)
    return {(at.line, at.column + 1): key for key, at in places}


def _fatal(model: Model, key: str, at: Position) -> str:
    """Why a placeholder keeps the model from being loaded; empty when it does not, or when another
    rule says so."""
    if model.config is None:
        return ""
    place = model.at("backend")
    if "${" in model.config.backend and (at.line, at.column) == (place.line, place.column + 1):
        return "no backend is called so"
    runs_engine = "gpt_model_type" in model.parameters()  # NVIDIA's Python runtime: it is optional
    if key == "tokenizer_dir" and model.backend == "python" and not runs_engine:
        return "there is no such tokenizer"
    return ""


def _is_judged(model: Model, key: str) -> bool:
    """Whether a rule of the backend reports the placeholder in its own words."""
    return any(each.backend == model.backend and each.judged(model, key) for each in UNFILLED)


def _is_optional(model: Model, key: str) -> bool:
    """Whether the model takes its default for a parameter that was never filled in."""
    if _is_judged(model, key):
        return False
    return any(each.backend == model.backend or key in each.parameters() for each in UNFILLED)


def _never_filled(texts: list[str]) -> str:
    if len(texts) == 1:
        return f"the placeholder {texts[0]} was never filled in"
    return f"{len(texts)} placeholders were never filled in: {_listed(texts)}"


def _count(names: list[str], what: str) -> str:
    return f"{len(names)} {what}{'' if len(names) == 1 else 's'}"


def _listed(names: list[str]) -> str:
    shown = list(dict.fromkeys(names))
    more = f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else ""
    return f"{', '.join(shown[:_NAMED])}{more}"
