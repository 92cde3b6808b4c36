"""Chunks from the events of a server's stream.

The common case, one answer without log probabilities, is decoded straight into its fields; the
model's request schema reads everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec

from trtbuild.signature import ServedModel
from trtbuild.signature.dialects import Dialect
from trtbuild.signature.dialects.chunks import chunk
from trtbuild.signature.requests import Chunk
from trtbuild.wire import kserve
from trtbuild.wire.failures import UNREADABLE, MalformedError, RefusedError

Decode = Callable[[Sequence[bytes]], list[Chunk]]

_made = tuple.__new__  # what Chunk() calls after it has read its arguments

_MOST = 2**32 - 1
Count = Annotated[int, msgspec.Meta(ge=0, le=_MOST)]
"""A model's tensor of another type than vLLM's could hold others, which no limit may count."""


class PlainEvent(msgspec.Struct, gc=False):
    """A response of a generating model as JSON; any other form is left to the request schema."""

    text_output: str
    finish_reason: str = ""
    num_output_tokens: Count | None = None
    num_input_tokens: Count | None = None


def decoder(model: ServedModel, dialect: Dialect, *, logprobs: bool) -> Decode:
    """Return a decoder for one stream.

    It raises RefusedError for the server's error, which has the chunks before it as ``chunks``.
    """
    general = _General(dialect.reader(model))
    plain = is_plain(model, dialect, logprobs=logprobs)
    return _Plain(general).decode if plain else general.decode


def is_plain(model: ServedModel, dialect: Dialect, *, logprobs: bool) -> bool:
    """Whether a stream has single texts, and nothing that only the request schema can read."""
    return not logprobs and dialect.reader(model) is chunk


class BrokenError(Exception):
    """An error after chunks of the same batch, which come first."""

    def __init__(self, chunks: list[Chunk], cause: Exception) -> None:
        super().__init__(str(cause))
        self.chunks = chunks
        self.cause = cause


class _General:
    """Any stream, by the model's request schema."""

    def __init__(self, read: Callable[[Any], Chunk]) -> None:
        self._read = read

    def decode(self, events: Sequence[bytes]) -> list[Chunk]:
        made: list[Chunk] = []
        for event in events:
            try:
                made.append(self.one(event))
            except (MalformedError, RefusedError) as error:
                raise BrokenError(made, error) from None
        return made

    def one(self, event: bytes) -> Chunk:
        try:
            found = msgspec.json.decode(event)
            if failed := found.get("error"):
                raise RefusedError(str(failed), status=500)
            made = self._read(kserve.generate_outputs(found))
            if not all(0 <= (n or 0) <= _MOST for n in (made.output_tokens, made.input_tokens)):
                raise ValueError
            return made
        except UNREADABLE:
            raise MalformedError(f"not an answer of the v2 protocol: {event[:200]!r}") from None


class _Plain:
    """A stream of single texts."""

    def __init__(self, general: _General) -> None:
        self._general = general
        self._decode = msgspec.json.Decoder(PlainEvent).decode

    def decode(self, events: Sequence[bytes]) -> list[Chunk]:
        made: list[Chunk] = []
        decode = self._decode
        for event in events:
            try:
                text, reason, tokens, prompt = msgspec.structs.astuple(decode(event))
            except msgspec.DecodeError:
                try:
                    made.append(self._general.one(event))
                except (MalformedError, RefusedError) as error:
                    raise BrokenError(made, error) from None
                continue
            reason = "" if reason == "None" else reason
            made.append(_made(Chunk, (text, reason, tokens, prompt, (), ())))
        return made
