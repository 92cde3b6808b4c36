"""Choose among the installed builders."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from trtbuild.builder import Builder, Case, Discovered, discover
from trtbuild.errors import UnsupportedError, UsageError
from trtbuild.modelspec import ModelSpec, Task
from trtbuild.plan import Rejection
from trtbuild.recipe import ModelRecipe

# Settings of a builder that exports a graph, and what to do with any other builder.
_FOR_GRAPHS = {
    "quantize": "quantize the checkpoint itself (trtbuild quantize)",
    "accelerator": "leave it out",
}
_GENERATING = (Task.GENERATE, Task.VISION_LANGUAGE)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A builder with its reasons against one checkpoint; without reasons it supports it."""

    found: Discovered
    reasons: tuple[str, ...]


def survey(case: Case, builders: Sequence[Discovered] = ()) -> tuple[Candidate, ...]:
    """Return every installed builder with its reasons, and a broken plug-in with its problem."""
    return tuple(Candidate(found, _reasons(found, case)) for found in builders or discover())


def _reasons(discovered: Discovered, case: Case) -> tuple[str, ...]:
    if discovered.builder is None:
        return (f"it could not be loaded: {discovered.problem}",)
    builder = discovered.builder
    return tuple(builder.reasons_unsupported(case)) or tuple(_lacking(builder, case))


def _lacking(builder: Builder, case: Case) -> Iterator[str]:
    """Reasons against a builder without a setting that ``convert`` has a flag for."""
    asked = [name for name in _FOR_GRAPHS if case.recipe.engine.get(name)]
    if not asked:
        return
    try:
        known = {row["name"] for row in builder.arguments(case.toolchain)}
    except UsageError:  # a release without its backend, which is a reason of its own
        return
    instead = "" if case.spec.task in _GENERATING else "use --backend onnx, or "
    for name in asked:
        if name not in known:
            yield f"it has no --{name}, which is for exported graphs: {instead}{_FOR_GRAPHS[name]}"


def choose_builder(
    case: Case, builders: Sequence[Discovered] = ()
) -> tuple[Builder, str, tuple[Rejection, ...]]:
    """Return the builder, why it was chosen, and why no other.

    With ``backend: auto`` the one with the highest priority and no reason against it; else the
    one named. ``builders`` is for tests; by default all that are installed.

    Raises:
        UsageError: ``backend`` names no builder.
        UnsupportedError: No builder can; the error has every reason of every builder.
    """
    recipe = case.recipe
    candidates = survey(case, builders)
    by_name = {candidate.found.name: candidate for candidate in candidates}
    if recipe.backend != "auto" and recipe.backend not in by_name:
        raise _unknown(recipe.backend, list(by_name))
    able = [c.found.builder for c in candidates if c.found.builder and not c.reasons]
    if recipe.backend != "auto":
        able = [b for b in able if b.name == recipe.backend]
    if not able:
        asked = [by_name[recipe.backend]] if recipe.backend != "auto" else list(candidates)
        raise _unsupported(case.spec, asked)
    ranks = {builder.name: builder.preference(case) for builder in able}
    chosen = max(able, key=lambda builder: ranks[builder.name])
    reason = _why(recipe, ranks[chosen.name], len(able), len(candidates))
    return chosen, reason, tuple(_rejections(candidates, chosen, recipe, ranks))


def _why(recipe: ModelRecipe, rank: int, able: int, known: int) -> str:
    if recipe.backend != "auto":
        return "chosen with --backend, and it supports the checkpoint"
    if known == 1:
        return "the only builder installed, and it supports the checkpoint"
    if able == 1:
        return "the only builder that supports the checkpoint"
    return f"the first of {able} builders that support the checkpoint (priority {rank})"


def _rejections(
    candidates: Sequence[Candidate],
    chosen: Builder,
    recipe: ModelRecipe,
    ranks: Mapping[str, int],
) -> list[Rejection]:
    rejections = []
    for candidate in candidates:
        builder = candidate.found.builder
        if builder is chosen:
            continue
        reasons = candidate.reasons
        if not reasons and recipe.backend != "auto":
            reasons = (
                f"{chosen.name} was chosen with --backend "
                f"(--backend {candidate.found.name} selects this one)",
            )
        elif not reasons and builder is not None:
            reasons = (
                f"supported, but {chosen.name} comes first: priority {ranks[builder.name]} against "
                f"{ranks[chosen.name]} (--backend {candidate.found.name} selects this one)",
            )
        rejections.append(Rejection(candidate.found.name, reasons))
    return rejections


def _unknown(name: str, known: list[str]) -> UsageError:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return UsageError(
        f"no builder {name!r} is installed",
        fix=f"{hint}use auto or one of {', '.join(known) or '(none installed)'} (--backend NAME)",
    )


def _unsupported(spec: ModelSpec, candidates: Sequence[Candidate]) -> UnsupportedError:
    details = [f"{c.found.name}: {reason}" for c in candidates for reason in c.reasons]
    who = candidates[0].found.name if len(candidates) == 1 else "no builder"
    verb = "cannot" if len(candidates) == 1 else "can"
    return UnsupportedError(
        f"{who} {verb} deploy {spec.source.text} ({spec.architecture})",
        fix="each reason names its fix; or choose another checkpoint",
        details=tuple(details or ["no builder is installed"]),
    )
