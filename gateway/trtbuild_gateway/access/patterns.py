"""What personal data looks like, whole and as a beginning that a stream may still complete.

Every pattern has a greatest length. :attr:`Pattern.open` finds where a text could still become a
match: ``regex`` matches a partial text, and the character that no text has makes every match a
partial one. Since searching with it is slow, cheaper expressions find where to look at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from trtbuild.errors import RecipeError, UsageError
from trtbuild_gateway.access import checks
from trtbuild_gateway.access.checks import Measure
from trtbuild_gateway.access.own_patterns import check_pattern

if TYPE_CHECKING:
    from regex import Pattern as Compiled

_WIDEST = 700  # a built-in pattern's: 64 characters, @, eight labels of 64, and 24
_NEVER = "\U0010ffff"
_SEPARATORS = "[ \\xa0\\u202f./()-]"

# JSON is looked at as it was sent: the letter of an escape is not part of the word after it.
_UNICODE = r"u[0-9A-Fa-f]{4}"
_ESCAPED = rf"(?:(?<=\\[bfnrt])|(?<=\\{_UNICODE}))"


def _after(look_behind: str) -> str:
    """Return what lets a match begin: a look-behind, which an escape satisfies, too."""
    return f"(?:{_ESCAPED}|{look_behind})"


_DOMAIN = r"(?:\w(?:[\w-]{0,61}\w)?\.){1,8}\p{L}{2,24}"
_EMAIL = (
    rf"(?:{_ESCAPED}|(?<![\w%+-])(?!(?<=\\)(?:[bfnrt]|{_UNICODE})))"
    r"[\w%+-](?:[\w.%+'-]{0,62}[\w%+-])?[@＠]" + _DOMAIN
)
_IBAN = _after(r"(?<![\p{L}\d])") + r"(?:[A-Z]{2}|[a-z]{2})\d{2}(?:[ \xa0-]{0,2}[A-Za-z0-9]){11,30}"
_CARD = (
    _after(r"(?<!\d)(?<!\d\.)")
    + r"(?:\d{13,19}|\d{4}(?:[ \xa0]\d{2,7}){2,4}|\d{4}(?:[.-]\d{2,7}){2,4})(?!\d)"
)
_SSN = (
    _after(r"(?<![\w-])")
    + r"(?!000|666|9\d\d)\d{3}(?:-(?!00)\d{2}-|[ ](?!00)\d{2}[ ])(?!0000)\d{4}"
    r"(?!\w|-\d)"
)
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_IP = (
    _after(r"(?<![\p{L}\d])")
    + rf"(?<!\d\.)(?<![Vv]ersion )(?:{_OCTET}\.){{3}}{_OCTET}(?!\d|\.\d)|"
    + _after(r"(?<![\w:.])")
    + rf"(?:[0-9A-Fa-f]{{0,4}}:){{2,7}}(?:(?:{_OCTET}\.){{3}}{_OCTET}|[0-9A-Fa-f]{{1,4}})?"
    r"(?![\w:])"
)
_PHONE = (
    # With the code of a country.
    _after(r"(?<![\w+])")
    + rf"(?:\+|00(?=[1-9])){_SEPARATORS}?[1-9](?:{_SEPARATORS}{{0,3}}\d){{6,14}}(?!\d)|"
    # North America: (415) 555-0132.
    + _after(r"(?<![\w.+-])")
    + r"(?:1[ .-])?(?:\([2-9]\d{2}\)[ \xa0-]?|[2-9]\d{2}[ \xa0.-])\d{3}[ \xa0.-]\d{4}"
    r"(?!\w|[.-]\d)|"
    # With the leading zero of a trunk: 030 1234567, 01 23 45 67 89, 01701234567.
    + _after(r"(?<![\w.+-])")
    + r"(?:\(?0[1-9]\d{0,4}\)?(?:[ \xa0./-]{1,3}\d{2,8}){1,5}(?!\d)|0[1-9]\d{8,9}(?!\w|[.-]\d))|"
    # Ten digits alone are often something else: North America's need a word before them.
    + r"(?<=\b(?i:tel|phone|mobile|cell|call|text|sms|fax|number)(?i: me)?(?i: at| on| is)?[.:=]?"
    + r"[ \xa0]?)[2-9]\d{2}[2-9]\d{6}(?!\w|[.-]\d)"
)

_AT = re.compile("[@＠]")
_BOUNDARY = re.compile(
    r"(\\b)|\[\^?\]?(?:\\.|[^\]\\\[])*\]|\\."
)  # not in a class, where it is another
_AFTER_ESCAPE = re.compile(_ESCAPED)
_NO_DIGIT = _after(r"(?<!\d)")
_STARTS = {
    "iban": r"[A-Za-z]{2}\d\d",
    "card": rf"{_NO_DIGIT}\d{{4}}",
    "ssn": rf"{_NO_DIGIT}\d{{3}}[ -]",
    "ip": _NO_DIGIT + r"\d{1,3}\.\d{1,3}\.|[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:",
    "phone": rf"[+(]|{_NO_DIGIT}\d",
}
SIGNS = re.compile(r"[\d@＠:(+]")
"""Every match of a built-in pattern has one of these."""

_WORD = re.compile(r"[\w.%+'-]*")
_LONGEST_WORD = 64


def plain_opening(text: str, at: int) -> int:
    """Return where a match of a built-in pattern may have begun, in a text without any sign:
    nowhere before the last word."""
    found = _WORD.match(text[: at - 1 if at else None : -1])
    return max(at, len(text) - min(found.end() if found else 0, _LONGEST_WORD))


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of data.

    Attributes:
        name: Its name in settings and logs.
        what: Its name in a sentence.
        whole: Finds matches.
        open: Finds where a match may have begun.
        measure: Checks a match.
        width: The most characters of a match.
        starts: Finds where a match may begin; every match begins where it does.
        seconds: The longest search, for patterns that are not ours.
    """

    name: str
    what: str
    whole: Compiled[str]
    open: Compiled[str]
    measure: Measure | None = None
    width: int = _WIDEST
    starts: re.Pattern[str] | None = None
    seconds: float | None = None

    @property
    def label(self) -> str:
        """What stands for it in a masked text."""
        return f"[{self.name.upper()}]"

    def find(self, text: str, at: int) -> tuple[int, int] | None:
        """Return the first match from a position on; TimeoutError if it takes too long."""
        if self.name == "email":
            return self._email(text, at)
        while (match := self._candidate(text, at)) is not None:
            start, end = match.span()
            whole = match if self.starts is None else self.whole.match(text, start)
            if whole is not None:
                end = whole.end()
                if self.measure is not None:
                    end = self.measure(text, start, end)
                if end > start:
                    return start, end
            at = start + 1
        return None

    def _candidate(self, text: str, at: int) -> Any:
        if self.starts is not None:
            return self.starts.search(text, at)
        return self.whole.search(text, at, timeout=self.seconds)

    def _email(self, text: str, at: int) -> tuple[int, int] | None:
        """Look around each ``@`` only: at the domain once, and at each beginning before it."""
        for sign in _AT.finditer(text, at):
            place = sign.start()
            if _domain().match(text, place + 1) is None:
                continue
            before = _WORD.match(text[max(at, place - _LONGEST_WORD) : place][::-1])
            first = place - (before.end() if before else 0)
            for start in range(first, place):
                between = start > first and text[start - 1] not in ".'"
                if between and not _AFTER_ESCAPE.match(text, start):
                    continue
                match = self.whole.match(text, start)
                if match is not None:
                    return start, match.end()
        return None

    def opening(self, text: str, at: int) -> int:
        """Return the first position from which more text could make a match, or a longer one."""
        at = max(at, len(text) - self.width)
        match = self.open.search(text, at, partial=True, timeout=self.seconds)
        return len(text) if match is None else match.start()


@cache
def built_in(name: str) -> Pattern:
    """Return one of the patterns that come with the gateway."""
    what, text, measure = _BUILT_IN[name]
    starts = re.compile(_STARTS[name]) if name in _STARTS else None
    return Pattern(name, what, *_compiled(text), measure, starts=starts)


@cache
def _domain() -> Compiled[str]:
    compiled: Compiled[str] = _library().compile(_DOMAIN)
    return compiled


def _after_escapes(text: str) -> str:
    """Return a pattern whose word boundaries are also where an escape of JSON ends."""
    return _BOUNDARY.sub(lambda found: rf"(?:\b|{_ESCAPED})" if found[1] else found[0], text)


def own(name: str, text: str) -> Pattern:
    """Return a pattern of the settings.

    Raises:
        RecipeError: It is not valid, or it has no greatest length and cost.
    """
    width, problem = check_pattern(text)
    if name in _BUILT_IN:
        problem = "its name is that of a kind that the gateway knows"
    try:
        compiled = None if problem else _compiled(_after_escapes(text))
    except _library().error as error:
        problem = str(error)
    if problem or compiled is None or compiled[0].fullmatch(""):
        raise RecipeError(
            f"the masking rule {name!r} has an unusable pattern: "
            f"{problem or 'it matches the empty text'}",
            where="access.masking",
            fix="write bounded repeats such as [0-9]{1,12}, without groups inside of repeats",
        )
    what = f"text of the rule {name!r}"
    return Pattern(name, what, *compiled, width=width, seconds=_OWN_SECONDS)


_OWN_SECONDS = 0.1


def _compiled(text: str) -> tuple[Compiled[str], Compiled[str]]:
    compile = _library().compile
    return compile(text), compile(f"(?:{text}){_NEVER}")


def _library() -> Any:
    try:
        import regex
    except ImportError:
        raise UsageError(
            "masking needs the library regex",
            fix="pip install 'trtbuild-gateway[masking]', or leave out access.masking",
        ) from None
    return regex


_BUILT_IN: dict[str, tuple[str, str, Measure | None]] = {
    "email": ("an e-mail address", _EMAIL, None),
    "iban": ("an IBAN", _IBAN, checks.iban),
    "card": ("a card number", _CARD, checks.card),
    "ssn": ("a social security number", _SSN, None),
    "ip": ("an IP address", _IP, checks.ip),
    "phone": ("a phone number", _PHONE, checks.phone),
}
"""What it is in a sentence, its pattern, and its check; at one place the first counts."""

NAMES = tuple(_BUILT_IN)
