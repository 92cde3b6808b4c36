"""How chunks of an answer become events of a stream when the text needs no parsing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trtbuild.signature.requests import Chunk
from trtbuild_gateway.answers import Choice
from trtbuild_gateway.encoding.chunks import Frame, Stream
from trtbuild_gateway.http.direct import CheckedSink, PlainSink, ReadSink, Sink
from trtbuild_gateway.http.exchange import Exchange
from trtbuild_gateway.routes.parsed import ParsedReader
from trtbuild_gateway.seams import AnswerText

Logprobs = Callable[[Sequence[Any]], Mapping[str, Any]]
"""Renders the log probabilities of a chunk's tokens."""


class PlainReader:
    """Encodes one answer of a stream as it is."""

    def __init__(self, encoder: Stream, logprobs: Logprobs | None) -> None:
        self._encoder = encoder
        self._logprobs = logprobs

    def take(self, choice: Choice, chunks: Sequence[Chunk]) -> bytes:
        """Return the events of new chunks."""
        index, encoder, logprobs = choice.index, self._encoder, self._logprobs
        if logprobs is None:
            return encoder.texts(index, choice.texts(chunks))
        pieces = []
        for chunk in chunks:
            choice.take(chunk)
            if chunk.logprobs:
                delta = {"content": chunk.text, "text": chunk.text}
                pieces.append(encoder.delta(index, delta, logprobs(chunk.logprobs)))
            elif chunk.text:
                pieces.append(encoder.text(index, chunk.text))
        return b"".join(pieces)

    def sink(self, exchange: Exchange, choice: Choice) -> Sink:
        """Return the fast path of its texts."""
        frame = self.frame(choice.index)
        if frame is None:
            return ReadSink(exchange, choice, self.take)
        return PlainSink(exchange, choice, frame)

    def frame(self, index: int) -> Frame | None:
        """Return what it writes around texts; None if that changes."""
        return self._encoder.frame(index)

    def end(self, choice: Choice) -> bytes:
        """Return the last event."""
        return self._encoder.finish(choice.index, choice.finish_reason())


class CheckedReader:
    """Encodes one answer as it may be sent; what follows sees no other text."""

    def __init__(self, text: AnswerText, reader: PlainReader | ParsedReader) -> None:
        self._text = text
        self._reader = reader

    def take(self, choice: Choice, chunks: Sequence[Chunk]) -> bytes:
        """Return the events of new chunks."""
        feed = self._text.feed
        # A model that sends no counts has its tokens counted by the texts it sent.
        checked = [
            Chunk(feed(text), reason, bool(text) if tokens is None else tokens, prompt, *logs)
            for text, reason, tokens, prompt, *logs in chunks
        ]
        return self._reader.take(choice, checked)

    def sink(self, exchange: Exchange, choice: Choice) -> Sink:
        """Return the fast path of its texts."""
        frame = self._reader.frame(choice.index)
        if frame is None:
            return ReadSink(exchange, choice, self.take)
        return CheckedSink(exchange, choice, frame, self._text.feed)

    def end(self, choice: Choice) -> bytes:
        """Return the last events."""
        rest = self._text.end()
        last = self._reader.take(choice, [Chunk(rest, output_tokens=0)]) if rest else b""
        return last + self._reader.end(choice)
