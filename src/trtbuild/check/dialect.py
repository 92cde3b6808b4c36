"""Where the server's parser of protobuf text (C++) and Python's differ, the server is right.

Python's takes blanks, escapes and numbers that the server does not, and refuses a few that it
takes. Source: google/protobuf, src/google/protobuf/io/tokenizer.cc and text_format.cc; the cases
in tests/corpus/text.toml were decided by the server.
"""

from __future__ import annotations

import re
import unicodedata

from trtbuild.pbtxt import PbtxtError

# Nothing of this kind is in an ordinary file, which is therefore not read twice.
_UNUSUAL = re.compile(r"[^\t-\r -~]|\\|[+]|-\s|\b0\w|[0-9]_")
_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\n\v\f]+|\#[^\n]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?)
      | (?P<number>0[xX][0-9a-fA-F]+|[0-9][0-9.]*(?:[eE][-+]?[0-9]+)?[fF]?|\.[0-9]+[0-9.eEfF]*)
      | (?P<name>[A-Za-z_]\w*)
      | (?P<mark>[!-~])
      | (?P<odd>.)""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_ESCAPE = re.compile(
    r"\\(?:[abfnrtv?'\"\\]|(?P<octal>[0-7]{1,3})|x(?P<hex>[0-9a-fA-F]{1,2})|u(?P<short>[0-9a-fA-F]{4})"
    r"|U00(?P<long>[01][0-9a-fA-F]{5})|(?P<wrong>.))",
    re.DOTALL,
)
_BEFORE_NUMBER = re.compile(r"\s+(?=[\w.])", re.ASCII)
_FLOATS = {"minimum_slot_utilization", "fp32_false_true", "buckets"}  # octal is not a float


def for_python(text: str) -> str:
    """The text that Python's parser understands as the server does ``text``.

    Everything keeps its line, and nearly everything its column.

    Raises:
        PbtxtError: The server cannot read it.
    """
    if not _UNUSUAL.search(text):
        return text
    parts: list[str] = []
    at, name = 0, ""
    while at < len(text):
        match = _TOKEN.match(text, at)
        assert match and match.lastgroup
        kind, word = match.lastgroup, match.group()
        name = word if kind == "name" else name
        if kind == "odd" or word == "+":
            raise _error(text, at, f"{_named(word)} cannot stand here")
        if kind == "string":
            word = _string(text, at, word)
        elif kind == "number":
            word = _number(text, at, word, name)
        elif word == "-":
            blank = _BEFORE_NUMBER.match(text, match.end())
            if blank:  # the sign moves to its number
                word = blank.group() + "-"
                at += len(blank.group())
        parts.append(word)
        at += match.end() - match.start()
    return "".join(parts)


def _error(text: str, at: int, message: str) -> PbtxtError:
    return PbtxtError(message, text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at))


def _named(char: str) -> str:
    name = unicodedata.name(char, "")
    return (
        repr(char) if char.isascii() and char.isprintable() else f"U+{ord(char):04X} {name}".strip()
    )


def _string(text: str, at: int, word: str) -> str:
    if "\0" in word:
        raise _error(text, at + word.index("\0"), "a null byte cannot stand here")

    def escape(match: re.Match[str]) -> str:
        if match["wrong"]:
            raise _error(text, at + match.start(), f"there is no escape {match.group()!r}")
        if match["octal"] and int(match["octal"], 8) > 255:
            return f"\\{int(match['octal'], 8) & 255:03o}"
        code = int(match["short"] or match["long"] or "0", 16)
        if match.group() == "\\?":  # Python's parser leaves the backslash
            return "?"
        if 0xD800 <= code < 0xE000:
            return 3 * "\\ufffd"  # its three bytes, none of which is UTF-8
        return "\\U0000fffd" if code > 0x10FFFF else match.group()

    word = _ESCAPE.sub(escape, word)
    return word if _is_utf8(word) else _ESCAPE.sub(_no_byte, word)


def _byte(match: re.Match[str]) -> int:
    """The value of an escape that names a byte from 128 on, else 0."""
    value = int(match["octal"], 8) if match["octal"] else int(match["hex"] or "0", 16)
    return value if value > 127 else 0


def _is_utf8(word: str) -> bool:
    """Whether the bytes that escapes name are UTF-8. The server takes any, Python's parser not."""
    pieces, at = [], 0
    for match in _ESCAPE.finditer(word):
        if _byte(match):
            pieces += [word[at : match.start()].encode(), bytes([_byte(match)])]
            at = match.end()
    try:
        b"".join([*pieces, word[at:].encode()]).decode()
    except UnicodeDecodeError:
        return False
    return True


def _no_byte(match: re.Match[str]) -> str:
    return "\\ufffd" if _byte(match) else match.group()


def _number(text: str, at: int, word: str, name: str) -> str:
    end = at + len(word)
    if end < len(text) and re.match(r"\w", text[end], re.ASCII):
        raise _error(text, end, "a blank is missing between a number and a word")
    octal = re.fullmatch(r"0[0-7]+", word)
    if name in _FLOATS or not (octal or word[:2] in ("0x", "0X")):
        return word
    value = int(word, 8 if octal else 16)
    if value >= 1 << 64:  # refused by both, whatever its digits
        return word
    decimal = str(value)
    return decimal.ljust(len(word)) if len(decimal) <= len(word) else word
