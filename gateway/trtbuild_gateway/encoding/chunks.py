"""Events of a stream, joined from prepared bytes: only the text of a token is encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from trtbuild_gateway.failures import ApiError

DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode


class Identity(NamedTuple):
    """What every event and body of one answer begins with."""

    id: str
    created: int
    model: str


class Frame(NamedTuple):
    """What stands around the JSON texts of a choice.

    Attributes:
        start: Before the first text.
        between: Between two.
        end: After the last.
    """

    start: bytes
    between: bytes
    end: bytes


class Stream(Protocol):
    """What each kind of stream can say; empty bytes for what a kind does not have."""

    @property
    def done(self) -> bytes:
        """The end of the stream."""

    def error(self, error: ApiError) -> bytes:
        """Return the event of an error."""

    def role(self, index: int) -> bytes:
        """Return the first event of a choice."""

    def text(self, index: int, text: str) -> bytes:
        """Return the event of new text."""

    def texts(self, index: int, texts: Sequence[str]) -> bytes:
        """Return the events of several new texts, or of none."""

    def frame(self, index: int) -> Frame | None:
        """Return what ``texts`` writes around texts; None if that changes."""

    def delta(
        self, index: int, delta: Mapping[str, Any], logprobs: Mapping[str, Any] | None
    ) -> bytes:
        """Return the event of any change."""

    def finish(self, index: int, reason: str) -> bytes:
        """Return the last event of a choice."""

    def usage(self, counts: Mapping[str, Any]) -> bytes:
        """Return the event with the token counts, after all choices."""


class _Events:
    """The parts that are the same in every event of a stream."""

    kind = ""
    done = DONE
    _field = b""  # of a choice, before the text
    _tail = b""  # after it

    def __init__(self, identity: Identity, *, usage: bool) -> None:
        head: dict[str, Any] = {"id": identity.id, "object": self.kind, "created": identity.created}
        head["model"] = identity.model
        start = b"data: " + _encode(head)[:-1]
        self._start = start
        self._choices = start + b',"choices":['
        self._frames: list[Frame] = []
        self._end = b'],"usage":null}\n\n' if usage else b"]}\n\n"

    def error(self, error: ApiError) -> bytes:
        """Return the event of an error."""
        return error.event()

    def text(self, index: int, text: str) -> bytes:
        """Return the event of new text."""
        return self.texts(index, (text,))

    def texts(self, index: int, texts: Sequence[str]) -> bytes:
        """Return the events of several new texts, or of none."""
        start, between, end = self.frame(index)
        return start + between.join(map(_encode, texts)) + end if texts else b""

    def frame(self, index: int) -> Frame:
        """Return what ``texts`` writes around texts."""
        while len(self._frames) <= index:
            start = self._choices + b'{"index":%d,' % len(self._frames) + self._field
            self._frames.append(Frame(start, self._tail + start, self._tail))
        return self._frames[index]

    def usage(self, counts: Mapping[str, Any]) -> bytes:
        """Return the event with the token counts, after all choices."""
        return self._start + b',"choices":[],"usage":' + _encode(counts) + b"}\n\n"

    def _choice(self, choice: Mapping[str, Any]) -> bytes:
        return self._choices + _encode(choice) + self._end


class ChatStream(_Events):
    """``chat.completion.chunk``."""

    kind = "chat.completion.chunk"
    _field = b'"delta":{"content":'

    def __init__(self, identity: Identity, *, usage: bool) -> None:
        super().__init__(identity, usage=usage)
        self._tail = b'},"finish_reason":null}' + self._end

    def role(self, index: int) -> bytes:
        """Return the first event of a choice."""
        return self.delta(index, {"role": "assistant", "content": ""}, None)

    def delta(
        self, index: int, delta: Mapping[str, Any], logprobs: Mapping[str, Any] | None
    ) -> bytes:
        """Return the event of any change."""
        choice: dict[str, Any] = {"index": index, "delta": delta}
        if logprobs is not None:
            choice["logprobs"] = logprobs
        return self._choice({**choice, "finish_reason": None})

    def finish(self, index: int, reason: str) -> bytes:
        """Return the last event of a choice."""
        return self._choice({"index": index, "delta": {}, "finish_reason": reason})


class CompletionStream(_Events):
    """``text_completion``, in parts."""

    kind = "text_completion"
    _field = b'"text":'

    def __init__(self, identity: Identity, *, usage: bool) -> None:
        super().__init__(identity, usage=usage)
        self._tail = b',"logprobs":null,"finish_reason":null}' + self._end

    def role(self, index: int) -> bytes:  # noqa: ARG002
        """Return nothing: there are no roles."""
        return b""

    def delta(
        self, index: int, delta: Mapping[str, Any], logprobs: Mapping[str, Any] | None
    ) -> bytes:
        """Return the event of any change."""
        text = delta.get("text", "")
        choice = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": None}
        return self._choice(choice)

    def finish(self, index: int, reason: str) -> bytes:
        """Return the last event of a choice."""
        return self._choice({"index": index, "text": "", "logprobs": None, "finish_reason": reason})


def usage(prompt: int, completion: int) -> dict[str, int]:
    """Return ``usage``."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def body(
    kind: str,
    identity: Identity,
    choices: Sequence[Mapping[str, Any]],
    counts: Mapping[str, Any],
) -> bytes:
    """Return a whole answer."""
    head = {"id": identity.id, "object": kind, "created": identity.created}
    return _encode({**head, "model": identity.model, "choices": choices, "usage": counts})
