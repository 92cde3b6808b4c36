"""Compares answers with recorded ones: a token that changed at a wide margin is a regression.

Greedy text changes with the batch a request is computed in: sums are added in another order, and
where two tokens are almost equally probable, the other one may come first. From there on the texts
have nothing in common. So texts are compared up to the first token that differs, and that
difference counts only if one of the two runs was sure of its token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from trtbuild_measure.answers.model import Answer, Step

LEAST_MARGIN = 0.05
"""Nats. Less is noise of any hardware, whatever was measured while recording."""

NOISE_FACTOR = 3
"""A margin is wide from so many times the largest change of a margin while recording."""


class Outcome(StrEnum):
    """How an answer compares with the recorded one."""

    SAME = "same"
    NOISE = "noise"
    REGRESSION = "regression"
    PROMPT = "prompt"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer against the recorded one.

    Attributes:
        id: The prompt's.
        outcome: Same tokens; another token at a narrow margin, or at a wide one; or the prompt
            became other tokens, so that the answers cannot be compared.
        at: The first token that differs, of the answer or of the prompt; None if none does.
        recorded: The recorded token there; None where the recorded answer had ended, or unknown.
        found: The token that is there now.
        margin: The larger of the two runs' margins between these tokens, in nats; None if unknown.
        compared: Tokens before ``at`` that are equal.
        shift: Largest change of a margin among them, in nats.
    """

    id: str
    outcome: Outcome
    at: int | None = None
    recorded: str | None = None
    found: str | None = None
    margin: float | None = None
    compared: int = 0
    shift: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether it is a regression of any kind."""
        return self.outcome in (Outcome.REGRESSION, Outcome.PROMPT)


def wide_margin(noise: float) -> float:
    """The margin from which another token is a regression, from the noise while recording."""
    return max(LEAST_MARGIN, NOISE_FACTOR * noise)


def compare(name: str, recorded: Answer, found: Answer, wide: float) -> Verdict:
    """Compare an answer with the recorded one.

    Args:
        name: The prompt's id.
        recorded: The recorded answer.
        found: The answer now.
        wide: The margin in nats from which another token is a regression.
    """
    if (changed := _changed_prompt(name, recorded, found)) is not None:
        return changed
    old, new = recorded.steps, found.steps
    at = _first_difference([step.token for step in old], [step.token for step in new])
    equal = min(len(old), len(new)) if at is None else at
    shift = max(shifts(old[:equal], new[:equal]), default=0.0)
    if at is None:
        return Verdict(name, Outcome.SAME, compared=equal, shift=shift)
    before = old[at] if at < len(old) else None
    after = new[at] if at < len(new) else None
    margin = flip_margin(before, after)
    narrow = margin is not None and margin < wide
    outcome = Outcome.NOISE if narrow else Outcome.REGRESSION
    return Verdict(name, outcome, at, _shown(before), _shown(after), margin, equal, shift)


def shifts(old: Sequence[Step], new: Sequence[Step]) -> Iterator[float]:
    """Yield how much the margin of each token changed, where both runs have one."""
    for before, after in zip(old, new, strict=True):
        if before.margin is not None and after.margin is not None:
            yield abs(before.margin - after.margin)


def flip_margin(before: Step | None, after: Step | None) -> float | None:
    """Return the larger of the two runs' margins between the tokens that they chose, in nats.

    A run whose answer has ended there chose a token that nobody knows: then the other run's margin
    over its second token counts.
    """
    if before is None or after is None:
        only = before or after
        return only.margin if only else None
    leads = (before.lead(after.token), after.lead(before.token))
    known = [lead for lead in leads if lead is not None]
    return max(known) if known else None


def noise_of(first: Sequence[Answer], again: Sequence[Answer]) -> float:
    """Return the largest change of a margin between two runs of one model, in nats.

    Where they chose different tokens, it is the margin at which they did.
    """
    most = 0.0
    for old, new in zip(first, again, strict=True):
        verdict = compare("", old, new, 0.0)
        most = max(most, verdict.shift, verdict.margin or 0.0)
    return most


def _changed_prompt(name: str, recorded: Answer, found: Answer) -> Verdict | None:
    old, new = recorded.prompt_tokens, found.prompt_tokens
    if old is not None and new is not None:
        at = _first_difference(old, new)
        if at is None:
            return None
        before = str(old[at]) if at < len(old) else None
        after = str(new[at]) if at < len(new) else None
        return Verdict(name, Outcome.PROMPT, at, before, after)
    counts = (recorded.prompt_count, found.prompt_count)
    if None in counts or counts[0] == counts[1]:
        return None
    before, after = (f"{count} tokens" for count in counts)
    return Verdict(name, Outcome.PROMPT, None, before, after)


def _first_difference(old: Sequence[object], new: Sequence[object]) -> int | None:
    for at, (before, after) in enumerate(zip(old, new, strict=False)):
        if before != after:
            return at
    return None if len(old) == len(new) else min(len(old), len(new))


def _shown(step: Step | None) -> str | None:
    if step is None:
        return None
    return (
        f"{step.token} {step.text!r}" if step.text and step.text != step.token else repr(step.token)
    )
