"""Whether the answers to several forms of a question agree."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from trtbuild_measure.intervals import Interval, wilson

_SPACE = re.compile(r"\s+")
_EDGES = " \t\r\n.,;:!?\"'`*()[]"
# A letter or digit of a script with spaces between words: in others nothing ends a word.
_LETTER = r"[^\W\u0e00-\u0fff\u1780-\u17ff\u2e80-\U0010ffff]"


@dataclass(frozen=True, slots=True)
class Said:
    """The answer to one form of a question.

    Attributes:
        id: The question's.
        rule: How the form was made.
        text: The text that was asked.
        answer: The whole answer.
        counts_as: What of it is compared; None if nothing is found.
    """

    id: str
    rule: str
    text: str
    answer: str
    counts_as: str | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many answers are those to the unchanged question.

    Attributes:
        rule: The forms; ``all`` counts questions whose answers agree in every form.
        agreed: How many.
        of: Of so many.
        share: The share.
        interval: Its 95 % interval (Wilson).
    """

    rule: str
    agreed: int
    of: int
    share: float
    interval: Interval


def chosen(answer: str, options: Sequence[str]) -> str | None:
    """Return the option that an answer names, by its letter or by its text; None if it names none,
    or several."""
    letters = ascii_uppercase[: len(options)]
    stripped = answer.strip(_EDGES)
    first = re.match(rf"([{letters}])(?=$|[.):,\n])", stripped)  # not the article of "A city"
    if first:
        return options[letters.index(first[1])]
    said = answer.casefold()
    named = [one for one in options if _is_named(one.casefold(), said)]
    # One option may be part of another, which then is the one.
    longest = [
        one
        for one in named
        if not any(one != other and one.casefold() in other.casefold() for other in named)
    ]
    if len(longest) == 1:
        return longest[0]
    alone = set(re.findall(rf"(?<![\w'])([{letters}])(?![\w'])", answer))
    return options[letters.index(alone.pop())] if len(alone) == 1 and not named else None


def _is_named(option: str, answer: str) -> bool:
    """Whether an answer has an option as whole words: "no" is not in "I know"."""
    before = rf"(?<!{_LETTER})" if re.match(_LETTER, option) else ""
    after = rf"(?!{_LETTER})" if re.search(rf"{_LETTER}\Z", option) else ""
    return re.search(f"{before}{re.escape(option)}{after}", answer) is not None


def part_of(answer: str, pattern: re.Pattern[str] | None) -> str | None:
    """Return what of an answer is compared, without the differences of case, spaces and
    punctuation around it; None if ``pattern`` does not match. Its first group counts, if it has
    one."""
    if pattern is not None:
        found = pattern.search(answer)
        if found is None:
            return None
        answer = found[1] if pattern.groups and found[1] is not None else found[0]
    return _SPACE.sub(" ", answer).strip(_EDGES).casefold()


def agreements(said: Sequence[Said]) -> list[Agreement]:
    """Return the agreement by rule, then that of whole questions.

    ``said`` begins, for each question, with the answer to its unchanged form. An answer without a
    part that counts agrees with nothing.
    """
    first: dict[str, str | None] = {}
    by_rule: dict[str, list[bool]] = {}
    by_question: dict[str, bool] = {}
    for one in said:
        if one.id not in first:
            first[one.id] = one.counts_as
            by_question[one.id] = True
            continue
        agrees = agree(first[one.id], one.counts_as)
        by_rule.setdefault(one.rule, []).append(agrees)
        by_question[one.id] = by_question[one.id] and agrees
    rows = [_agreement(rule, found) for rule, found in by_rule.items()]
    return [*rows, _agreement("all", by_question.values())]


def agree(first: str | None, other: str | None) -> bool:
    """Whether two answers agree."""
    return first is not None and first == other


def _agreement(rule: str, found: Iterable[bool]) -> Agreement:
    known = list(found)
    agreed, of = sum(known), len(known)
    return Agreement(rule, agreed, of, agreed / of, wilson(agreed, of))
