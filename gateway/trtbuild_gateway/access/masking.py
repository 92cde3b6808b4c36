"""Personal data in prompts, answers and logs: masked, refused or counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from trtbuild_gateway.access.patterns import NAMES, SIGNS, Pattern, built_in, own, plain_opening
from trtbuild_gateway.access_settings import MaskingRule, Place
from trtbuild_gateway.failures import ApiError, invalid

_CONTEXT = 16  # characters before a text that a pattern looks at
_FIXED = frozenset(("role", "type", "id", "tool_call_id"))  # what programs wrote into a message
_LONG = 50_000  # characters that are searched in a thread


class Rule(NamedTuple):
    """A pattern, and what is done with its matches: ``mask``, ``refuse`` or ``log``."""

    pattern: Pattern
    action: str


class Found(NamedTuple):
    """A match."""

    start: int
    end: int
    rule: Rule


def rules_for(settings: Sequence[MaskingRule], place: Place) -> tuple[Rule, ...]:
    """Return the rules for one place; of several for one kind of data, the last counts.

    Raises:
        RecipeError: A pattern cannot be used.
    """
    made: dict[str, Rule] = {}
    for one in settings:
        patterns = [own(one.name, one.pattern)] if one.pattern else []
        patterns += [built_in(name) for name in one.find]
        if place in one.where:
            made |= {pattern.name: Rule(pattern, one.do) for pattern in patterns}
    order = {name: at for at, name in enumerate(NAMES)}
    return tuple(sorted(made.values(), key=lambda rule: order.get(rule.pattern.name, -1)))


class _Scanner:
    """Searches one text for several patterns, from left to right."""

    def __init__(self, rules: Sequence[Rule], text: str, at: int) -> None:
        self._text = text
        self._next = [self._search(rule, at) for rule in rules]
        self._rules = rules

    def _search(self, rule: Rule, at: int) -> Found | None:
        span = rule.pattern.find(self._text, at)
        return None if span is None else Found(*span, rule)

    def first(self, at: int) -> Found | None:
        """Return the first match from a position on; at one place, that of the first rule."""
        for number, found in enumerate(self._next):
            if found is not None and found.start < at:
                self._next[number] = self._search(found.rule, at)
        return min((one for one in self._next if one), key=lambda one: one.start, default=None)

    def opening(self, at: int) -> int:
        """Return the position from which on more text could change what is found."""
        return min(rule.pattern.opening(self._text, at) for rule in self._rules)


def finds(rules: Sequence[Rule], text: str) -> Iterator[Found]:
    """Yield the matches of a whole text, in order."""
    scanner, at = _Scanner(rules, text, 0), 0
    while (found := scanner.first(at)) is not None:
        yield found
        at = found.end


class Stream:
    """A text that arrives in pieces; only what may still become a match is held back.

    The pieces together are what the whole text would become, wherever it was cut.

    Args:
        rules: What to look for.
        counts: Matches by name; they are added to it.
        subject: What the text is, for errors: ``prompt``, ``answer``, ``log``.
    """

    def __init__(self, rules: Sequence[Rule], counts: Counter[str], subject: str) -> None:
        self._rules = rules
        self._counts = counts
        self._subject = subject
        self._simple = all(rule.pattern.name in NAMES for rule in rules)
        self._held = ""
        self._before = 0  # characters of ``_held`` that have been given, for looking back

    def feed(self, text: str) -> str:
        """Take a piece, and return what is certain.

        Raises:
            ApiError: The text has what is refused, or cannot be searched in time.
        """
        return self._advance(text, last=False) if text else ""

    def end(self) -> str:
        """Return the rest."""
        return self._advance("", last=True)

    def whole(self, text: str) -> str:
        """Take all at once."""
        return self._advance(text, last=True)

    def _advance(self, more: str, *, last: bool) -> str:
        text, at = self._held + more, self._before
        try:
            made, at = self._masked(text, at, last=last)
        except TimeoutError:
            raise ApiError(
                403,
                f"the {self._subject} cannot be searched in time for what is masked",
                code="content_refused",
            ) from None
        kept = max(0, at - _CONTEXT)
        self._held, self._before = text[kept:], at - kept
        return made

    def _masked(self, text: str, at: int, *, last: bool) -> tuple[str, int]:
        """Return the text from ``at`` to the returned position."""
        if self._simple and SIGNS.search(text, at) is None:
            opening = len(text) if last else plain_opening(text, at)
            return text[at:opening], opening
        scanner = _Scanner(self._rules, text, at)
        parts: list[str] = []
        opening = len(text) if last else scanner.opening(at)
        while True:
            if opening < at:
                opening = scanner.opening(at)
            found = scanner.first(at)
            if found is None or (found.start >= opening and not last):
                parts.append(text[at:opening])
                return "".join(parts), opening
            parts.append(text[at : found.start])
            parts.append(self._replaced(found, text))
            at = found.end

    def _replaced(self, found: Found, text: str) -> str:
        pattern, action = found.rule
        self._counts[pattern.name] += 1
        if action == "refuse":
            raise _refused(self._subject, pattern.what)
        return text[found.start : found.end] if action == "log" else pattern.label


def _refused(subject: str, what: str) -> ApiError:
    if subject == "answer":
        return ApiError(403, f"the answer is withheld, since it has {what}", code="content_refused")
    return invalid(
        f"the {subject} has {what}, which must not be sent; remove it", code="content_refused"
    )


def mask_whole(rules: Sequence[Rule], text: str, counts: Counter[str], subject: str) -> str:
    """Return a text with its matches replaced; see :class:`Stream`."""
    return Stream(rules, counts, subject).whole(text)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules of a key, by place; for logs every match is masked."""

    prompts: tuple[Rule, ...] = ()
    answers: tuple[Rule, ...] = ()
    logs: tuple[Rule, ...] = ()

    @classmethod
    def of(cls, settings: Sequence[MaskingRule]) -> RuleSet:
        """Return the rules of settings; RecipeError if a pattern cannot be used."""
        logs = tuple(Rule(rule.pattern, "mask") for rule in rules_for(settings, "logs"))
        return cls(rules_for(settings, "prompts"), rules_for(settings, "answers"), logs)


@dataclass(slots=True)
class CheckedTexts:
    """The texts of one call; a :class:`~trtbuild_gateway.seams.Texts`.

    Attributes:
        rules: What to look for.
        keep: Whether to keep the prompts, masked as in logs.
        counts: What was found, by name.
        kept: The prompts.
    """

    rules: RuleSet
    keep: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    kept: list[str] = field(default_factory=list)

    @property
    def checks_prompts(self) -> bool:
        """See :class:`~trtbuild_gateway.seams.Texts`."""
        return bool(self.rules.prompts)

    @property
    def hides(self) -> bool:
        """See :class:`~trtbuild_gateway.seams.Texts`."""
        return any(rule.action != "log" for rule in (*self.rules.prompts, *self.rules.answers))

    async def prompts(self, value: Any, keys: frozenset[str] | None = None) -> Any:
        """See :class:`~trtbuild_gateway.seams.Texts`."""
        if not (self.rules.prompts or self.keep):
            return value
        if sum(map(len, _texts(value))) > _LONG:
            return await asyncio.to_thread(self._checked, value, keys)
        return self._checked(value, keys)

    def answer(self) -> Stream | None:
        """See :class:`~trtbuild_gateway.seams.Texts`."""
        return Stream(self.rules.answers, self.counts, "answer") if self.rules.answers else None

    def _checked(self, value: Any, keys: frozenset[str] | None) -> Any:
        if isinstance(value, str):
            return value if keys is not None else self._prompt(value)
        if isinstance(value, dict):
            return {name: self._of_key(name, item, keys) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._checked(item, keys) for item in value)
        return value

    def _of_key(self, name: str, value: Any, keys: frozenset[str] | None) -> Any:
        if isinstance(value, str):
            wanted = name not in _FIXED if keys is None else name in keys
            return self._prompt(value) if wanted else value
        return self._checked(value, keys)

    def _prompt(self, text: str) -> str:
        if self.keep:
            self.kept.append(mask_whole(self.rules.logs, text, Counter(), "prompt"))
        if not self.rules.prompts:
            return text
        return mask_whole(self.rules.prompts, text, self.counts, "prompt")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
