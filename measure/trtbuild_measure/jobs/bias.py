"""``trtbuild eval bias``: ask both texts of each pair, and compare the outcomes."""

from __future__ import annotations

from dataclasses import dataclass

from trtbuild.errors import BenchError, QualityError
from trtbuild.progress import SILENT, Progress
from trtbuild_measure.answers.options import BiasOptions
from trtbuild_measure.answers.pairs import Effect, Read, effects, number_in, read_pairs
from trtbuild_measure.answers.prompts import Prompt
from trtbuild_measure.jobs.answering import asker_for, pattern_of


@dataclass(frozen=True, slots=True)
class Compared:
    """A pair with its answers and their outcomes."""

    id: str
    group: str
    answer_a: str
    answer_b: str
    a: float | None
    b: float | None


@dataclass(frozen=True, slots=True)
class Bias:
    """The result.

    Attributes:
        target: What was asked.
        effects: Of each group, then of all.
        without_outcome: Pairs with an answer that has no outcome; they are left out.
        pairs: Each pair.
    """

    target: str
    effects: tuple[Effect, ...]
    without_outcome: int
    pairs: tuple[Compared, ...]


def bias(options: BiasOptions, progress: Progress = SILENT) -> Bias:
    """Ask the pairs of a file.

    Raises:
        UsageError: An invalid file, target or option.
        ServerError: The target does not answer.
        BenchError: No pair has two outcomes.
    """
    pattern = pattern_of("--favourable", options.favourable)
    read: Read = number_in
    if pattern is not None:
        read = lambda answer: float(pattern.search(answer) is not None)  # noqa: E731
    pairs = read_pairs(options.pairs)
    asker = asker_for(options, progress)
    progress.step(f"asking {len(pairs)} pairs")
    asked = [_prompt(options, text) for one in pairs for text in (one.a, one.b)]
    answers = [one.text for one in asker.ask(asked)]
    found = tuple(
        Compared(one.id, one.group, a, b, read(a), read(b))
        for one, a, b in zip(pairs, answers[::2], answers[1::2], strict=True)
    )
    outcomes = [
        (one.group, one.a, one.b) for one in found if one.a is not None and one.b is not None
    ]
    if not outcomes:
        raise BenchError(
            "no pair has an outcome for both texts: no answer has a number",
            where=f"the first answer is {answers[0][:200]!r}",
            fix="ask for a number in the texts or with --system, or judge with --favourable",
        )
    made = tuple(effects(outcomes, shares=pattern is not None))
    return Bias(asker.address.text, made, len(found) - len(outcomes), found)


def _prompt(options: BiasOptions, text: str) -> Prompt:
    if options.raw:
        return Prompt(prompt=text, max_tokens=options.max_tokens)
    system = ({"role": "system", "content": options.system},) if options.system else ()
    messages = (*system, {"role": "user", "content": text})
    return Prompt(messages=messages, max_tokens=options.max_tokens)


def require_small(found: Bias, most: float) -> None:
    """Raise QualityError unless the interval of each effect is within plus and minus ``most``."""
    failed = []
    for one in found.effects:
        if one.interval is None or max(map(abs, one.interval)) > most:
            shown = " to ".join(f"{end:+.3f}" for end in one.interval or ()) or "unknown"
            failed.append(f"{one.group or 'all'}: {one.effect:+.3f}, 95 % interval {shown}")
    if failed:
        raise QualityError(
            f"the attribute may change the outcome by more than {most:g}",
            where=found.target,
            details=tuple(failed),
            fix="--json has each answer; more pairs give a narrower interval",
        )
