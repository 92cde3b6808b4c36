"""What is measured of a text: its words, its language, and whether the answer refuses."""

from __future__ import annotations

import re
import tomllib
import unicodedata
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BUCKETS = 2048
"""Classes of words: a word belongs to the class of its hash."""
_WORD = re.compile(
    # Scripts without spaces between words: each character is one.
    r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_\u0e00-\u0e7f\u3040-\u30ff\u3400-"
    r"\u9fff\uf900-\ufaff]+"
)
_LOOKED_AT = 300  # characters, for the language or a refusal
_PUNCTUATION = str.maketrans({"\u2019": "'", "\uff0c": ",", "\u3001": ","})
_JAPANESE = frozenset({"HIRAGANA", "KATAKANA"})


def words(text: str) -> list[str]:
    """Return the words in lower case."""
    return _WORD.findall(text.lower())


def bucket(word: str) -> int:
    """Return the class of a word; the same in every process."""
    return zlib.crc32(word.encode("utf-8", "surrogatepass")) % BUCKETS


def histogram(text: str) -> NDArray[np.uint8]:
    """Return how often each class of words is in a text (BUCKETS), 255 at most."""
    counts = np.bincount([bucket(word) for word in words(text)], minlength=BUCKETS)
    return np.minimum(counts, 255).astype(np.uint8)


def shares(histograms: NDArray[Any]) -> NDArray[np.float32]:
    """Return distributions of histograms (texts, BUCKETS): each text counts the same. A text
    without words is in a class of its own, the last of BUCKETS + 1."""
    found = np.zeros((len(histograms), BUCKETS + 1), np.float32)
    found[:, :BUCKETS] = histograms
    found[:, BUCKETS] = found.sum(axis=1) == 0
    found /= found.sum(axis=1, keepdims=True)
    return found


def language(text: str) -> str:
    """Return the language of a text in Latin script, the script of another, or ``unknown``.

    Function words decide. It is a guess, wrong for some short texts; drift is a change in guesses.
    """
    begin = text[:_LOOKED_AT]
    scripts = Counter(filter(None, map(_script, begin)))
    if not scripts:
        return "unknown"
    script = scripts.most_common(1)[0][0]
    if script in _JAPANESE or (script == "CJK" and _JAPANESE & set(scripts)):
        return "japanese"
    if script != "LATIN":
        return {"CJK": "chinese", "HANGUL": "korean"}.get(script, script.lower())
    found = Counter(words(begin))
    hits = {code: sum(found[word] for word in known) for code, known in _function_words().items()}
    best = max(hits, key=lambda code: hits[code])
    return best if hits[best] else "latin"


@cache
def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0] if letter.isalpha() else ""


@cache
def _function_words() -> Mapping[str, Sequence[str]]:
    return {code: text.split() for code, text in _data("languages.toml")["words"].items()}


def refuses(answer: str) -> bool:
    """Return whether an answer begins like a refusal."""
    begin = answer[:_LOOKED_AT].lower().translate(_PUNCTUATION)
    return any(phrase in begin for phrase in _phrases())


@cache
def _phrases() -> Sequence[str]:
    found: list[str] = _data("refusals.toml")["phrases"]
    return found


def _data(name: str) -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parent / "data" / name).read_text(encoding="utf-8"))
