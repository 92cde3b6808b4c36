"""When another token is a regression, and when it is noise."""

from __future__ import annotations

import math

import pytest

from trtbuild_measure.answers.golden import (
    Outcome,
    compare,
    flip_margin,
    noise_of,
    wide_margin,
)
from trtbuild_measure.answers.model import Answer, Step, ordered

A, B, C = 1, 2, 3
WIDE = 0.5


def step(token: int, logprob: float, **others: float) -> Step:
    ids = {"a": A, "b": B, "c": C}
    rest = ordered(token, [(ids[name], value) for name, value in others.items()])
    return Step(token, f" t{token}", logprob, rest)


def answer(*steps: Step, prompt: tuple[int, ...] | None = (7, 8), count: int = 2) -> Answer:
    return Answer("", steps, prompt, count)


SURE = step(A, -0.1, b=-3.0)
TIED = step(A, -0.7, b=-0.8)
FLIPPED = step(B, -0.7, a=-0.75)
FLIPPED_SURE = step(B, -0.1, a=-4.0)


@pytest.mark.parametrize(
    ("recorded", "found", "outcome", "margin"),
    [
        ((SURE, TIED), (SURE, TIED), Outcome.SAME, None),
        ((SURE, TIED), (SURE, FLIPPED), Outcome.NOISE, 0.1),
        # Both must be unsure: the new model does not get away with a token it is sure of.
        ((SURE, TIED), (SURE, FLIPPED_SURE), Outcome.REGRESSION, 3.9),
        ((SURE, SURE), (SURE, FLIPPED), Outcome.REGRESSION, 2.9),
        # The margin to the token that was chosen, not to the second.
        ((step(A, -0.7, b=-0.8, c=-2.0),), (step(C, -0.9, a=-0.95),), Outcome.REGRESSION, 1.3),
        # A token that is not among the best is at least as far as the last of them.
        ((step(A, -0.2, b=-2.2),), (step(C, -0.9, a=-0.95),), Outcome.REGRESSION, 2.0),
        # An answer that ended early, at a margin that one run knows.
        ((SURE, SURE), (SURE,), Outcome.REGRESSION, 2.9),
        ((SURE, TIED), (SURE,), Outcome.NOISE, 0.1),
        ((SURE,), (SURE, TIED), Outcome.NOISE, 0.1),
        # A server that sends no alternatives says nothing about margins.
        ((step(A, -0.1),), (step(B, -0.1),), Outcome.REGRESSION, None),
        # Only the first difference counts: what follows has another beginning.
        ((TIED, SURE), (FLIPPED, FLIPPED_SURE), Outcome.NOISE, 0.1),
    ],
)
def test_a_flip_is_judged_by_the_margin_of_the_surer_run(
    recorded: tuple[Step, ...], found: tuple[Step, ...], outcome: Outcome, margin: float | None
) -> None:
    verdict = compare("p", answer(*recorded), answer(*found), WIDE)
    assert verdict.outcome is outcome
    assert verdict.failed is (outcome is Outcome.REGRESSION)
    assert verdict.margin == (None if margin is None else pytest.approx(margin))


def test_a_changed_prompt_is_told_before_any_token() -> None:
    verdict = compare("p", answer(SURE), answer(FLIPPED_SURE, prompt=(7, 9)), WIDE)
    assert (verdict.outcome, verdict.at, verdict.recorded, verdict.found) == (
        Outcome.PROMPT, 1, "8", "9",
    )  # fmt: skip
    counted = compare("p", answer(SURE, prompt=None), answer(SURE, prompt=None, count=5), WIDE)
    assert (counted.outcome, counted.found) == (Outcome.PROMPT, "5 tokens")


def test_the_noise_is_the_largest_change_of_a_margin_or_the_margin_of_a_flip() -> None:
    moved = step(A, -0.1, b=-3.02)
    assert noise_of([answer(SURE, TIED)], [answer(moved, TIED)]) == pytest.approx(0.02)
    assert noise_of([answer(SURE, TIED)], [answer(SURE, FLIPPED)]) == pytest.approx(0.1)
    assert wide_margin(0.1) == pytest.approx(0.3)
    assert wide_margin(0.0) == 0.05


def test_probabilities_of_zero_are_no_alternatives() -> None:
    assert ordered(A, [(A, -0.1), (B, -math.inf), (C, -2.0)]) == ((C, -2.0),)
    assert flip_margin(None, None) is None
