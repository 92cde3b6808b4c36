"""The same question in other words: by rules, and by the user's own variants."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase

from pydantic import Field, model_validator

from trtbuild.errors import UsageError
from trtbuild_measure.answers.prompts import Line, Prompt, read_lines

_PLACE = "{options}"
_END = re.compile(r"[.!?,;:…。?!]+(?=\s*$)")
_WORD = re.compile(r"[^\W\d_]{4,}")
_WORDS_PER_TYPO = 10


class Question(Prompt):
    """A prompt whose answer must not depend on its form.

    Attributes:
        options: Possible answers; ``{options}`` in the text is where they are listed.
    """

    options: tuple[str, ...] = Field(default=(), max_length=len(ascii_uppercase))

    @model_validator(mode="after")
    def _placed(self) -> Question:
        if bool(self.options) != (_PLACE in self.text):
            raise ValueError("'options' and {options} in the text belong together")
        if self.options and len({one.casefold() for one in self.options}) < max(
            2, len(self.options)
        ):
            raise ValueError("'options' must be at least two, all different")
        return self

    @property
    def text(self) -> str:
        """The text that is rewritten: the prompt, or the last message of the user."""
        return self.prompt if self.prompt is not None else str(self.messages[self._last]["content"])

    @property
    def _last(self) -> int:
        users = [at for at, one in enumerate(self.messages) if one["role"] == "user"]
        if not users or not isinstance(self.messages[users[-1]].get("content"), str):
            raise ValueError("no message of the user has a text")
        return users[-1]

    def asked(self, text: str, options: Sequence[str]) -> Prompt:
        """Return the prompt with another text, and the options in this order."""
        listed = "\n".join(f"{ascii_uppercase[at]}. {one}" for at, one in enumerate(options))
        whole = text.replace(_PLACE, listed)
        fields = {name: getattr(self, name) for name in Prompt.model_fields}
        if self.prompt is not None:
            return Prompt(**fields | {"prompt": whole})
        messages = [dict(one) for one in self.messages]
        messages[self._last]["content"] = whole
        return Prompt(**fields | {"messages": tuple(messages)})


class Variant(Line):
    """A line of the user's own variants: another text of the question ``id``."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Form:
    """A question in one form.

    Attributes:
        rule: How it was made; ``unchanged`` is the same text again.
        text: The text.
        options: In the order in which they are listed.
    """

    rule: str
    text: str
    options: tuple[str, ...]


def forms(question: Question, own: Sequence[str] = ()) -> Iterator[Form]:
    """Yield the question as it is, and each form that differs from it; the same question always
    gives the same forms."""
    options = question.options
    yield Form("unchanged", question.text, options)
    seed = f"{question.id}\n{question.text}".encode("utf-8", "surrogatepass")
    draw = random.Random(seed)  # noqa: S311 - it hides nothing
    # What stands in braces is replaced later.
    parts = question.text.split(_PLACE)
    for rule, rewrite in RULES.items():
        text = _PLACE.join(rewrite(part, draw) for part in parts)
        if text != question.text:
            yield Form(rule, text, options)
    if options:
        moved = draw.randrange(1, len(options))
        yield Form("options", question.text, options[moved:] + options[:moved])
    for text in own:
        yield Form("own", text, options)


def _case(text: str, _: random.Random) -> str:
    lower = text.lower()
    return text.upper() if lower == text else lower


def _punctuation(text: str, _: random.Random) -> str:
    return _END.sub("", text) if _END.search(text) else text.replace(",", "")


def _typos(text: str, draw: random.Random) -> str:
    words = list(_WORD.finditer(text))
    count = -(-len(words) // _WORDS_PER_TYPO)
    letters = list(text)
    for word in draw.sample(words, count):
        # Not the first letter: readers and tokenizers know a word by it.
        at = draw.randrange(word.start() + 1, word.end() - 1)
        letters[at], letters[at + 1] = letters[at + 1], letters[at]
    return "".join(letters)


RULES: Mapping[str, Callable[[str, random.Random], str]] = {
    "case": _case,
    "punctuation": _punctuation,
    "typos": _typos,
}
"""Rules that change the text."""


def read_variants(path: Path, questions: Sequence[Question]) -> Mapping[str, list[str]]:
    """Return the user's own variants by question.

    Raises:
        UsageError: The file cannot be read, a line is not a variant, or of no question.
    """
    fix = 'write {"id": "capital", "text": "Which city is the capital of France?"}, one a line'
    found: dict[str, list[str]] = {}
    known = {one.id: one for one in questions}
    for number, line in read_lines(path, Variant, "variant", fix):
        where = f"{path}:{number}"
        if line.id not in known:
            raise UsageError(f"no question has the id {line.id!r}", where=where, fix=fix)
        if bool(known[line.id].options) != (_PLACE in line.text):
            raise UsageError(
                f"the variant of {line.id!r} needs {_PLACE} exactly where the question has it",
                where=where,
                fix=fix,
            )
        found.setdefault(line.id, []).append(line.text)
    return found
