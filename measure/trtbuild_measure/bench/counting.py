"""Count the tokens of a stream: how many tokens of the served model each chunk completed.

The whole answer is tokenised once it is complete, and each token belongs to the chunk in which its
last character arrived. Tokenising chunk by chunk would split tokens at chunk boundaries.
"""

from __future__ import annotations

import bisect
import hashlib
from itertools import accumulate
from pathlib import Path
from typing import Any

from trtbuild.errors import UsageError
from trtbuild_measure.bench.model import Stream, Timeline

_SHORTEST_ECHO = 8  # characters; an answer may begin like a shorter prompt by chance


class Counter:
    """Counts tokens with a tokenizer, or takes the server's counts without one."""

    def __init__(self, tokenizer: Any = None) -> None:
        self.tokenizer = tokenizer
        self.echoes = 0

    def length(self, text: str) -> int:
        """Tokens of ``text`` without special tokens; 0 without a tokenizer."""
        if self.tokenizer is None:
            return 0
        return len(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def timeline(self, stream: Stream) -> Timeline:
        """Return the request with its token counts, without an echoed prompt."""
        text = "".join(stream.pieces)
        ends: list[int] | None = self._token_ends(text)
        ends, echoed = self._without_echo(stream, text, ends)
        reached = list(accumulate(map(len, stream.pieces)))
        first = bisect.bisect_right(reached, echoed)
        said = stream.counts[first:]
        tokens = _said(said)
        if ends is not None and not (stream.damaged and stream.shown):
            tokens = _shares(reached[first:], ends)
        if stream.calls:
            tokens = _with_markup(tokens, stream.shown)
        return Timeline(
            intended=stream.intended,
            started=stream.started,
            ended=stream.ended,
            arrivals=tuple(stream.arrivals[first:]),
            tokens=tokens,
            output_tokens=sum(tokens) if tokens else stream.shown or 0,
            input_tokens=stream.input_tokens or stream.prompt.tokens,
            sequences=stream.sequences,
        )

    def _token_ends(self, text: str) -> list[int] | None:
        if self.tokenizer is None:
            return None
        offsets = self.tokenizer.encode(text, add_special_tokens=False).offsets
        return [end for _, end in offsets]

    def _without_echo(
        self, stream: Stream, text: str, ends: list[int] | None
    ) -> tuple[list[int] | None, int]:
        """Return the token ends of the answer, and the length of an echoed prompt before it.

        A model may repeat the prompt at the start of its answer. It is an echo only if the server
        did not count it as generated.
        """
        prompt = stream.prompt.text
        if len(prompt) < _SHORTEST_ECHO or not text.startswith(prompt):
            return ends, 0
        if ends is not None and stream.shown is not None:
            inside = sum(end <= len(prompt) for end in ends)
            if abs(len(ends) - stream.shown) <= inside / 2:
                return ends, 0
        self.echoes += 1
        if ends is None:
            return None, len(prompt)
        answer = self._token_ends(text[len(prompt) :]) or []
        return [end + len(prompt) for end in answer], len(prompt)


def _shares(reached: list[int], ends: list[int]) -> tuple[int, ...]:
    """Return the tokens of each chunk, given where each chunk and each token ends."""
    tokens = [0] * len(reached)
    for end in ends:
        tokens[min(bisect.bisect_left(reached, end), len(reached) - 1)] += 1
    return tuple(tokens)


def _with_markup(tokens: tuple[int, ...], shown: int | None) -> tuple[int, ...]:
    """Of tool calls the server sends names and arguments; the tokens around them, which open the
    call, were made before its first piece."""
    more = (shown or 0) - sum(tokens)
    return (tokens[0] + more, *tokens[1:]) if tokens and more > 0 else tokens


def _said(counts: list[int | None]) -> tuple[int, ...]:
    known = [count for count in counts if count is not None]
    return tuple(known) if len(known) == len(counts) else ()


def tokenizer_digest(path: Path) -> str:
    """Return the digest of a tokenizer's ``tokenizer.json``."""
    return digest(_file(path))


def digest(file: Path) -> str:
    """Return the digest of a file's contents."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def _file(path: Path) -> Path:
    return path / "tokenizer.json" if path.is_dir() else path


def load_tokenizer(path: Path) -> Any:
    """Load the tokenizer of a checkpoint directory, or a ``tokenizer.json``.

    Raises:
        UsageError: There is no tokenizer, or it cannot be read.
    """
    from tokenizers import Tokenizer

    file = _file(path)
    if not file.is_file():
        raise UsageError(
            f"there is no tokenizer at {path}",
            fix="give the directory of the served checkpoint that holds tokenizer.json",
        )
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain Exception
        raise UsageError(
            f"the tokenizer cannot be read: {error}", where=str(file), fix="name another"
        ) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
