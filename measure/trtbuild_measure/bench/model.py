"""A request to a target, and what the client saw of the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Endpoint = Literal["chat", "completions", "embeddings", "rerank"]

_SECRET = 8  # characters; a shorter key ("EMPTY", "token") may be an ordinary word


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request.

    Attributes:
        text: The prompt as plain text; for a chat endpoint the user's message.
        tokens: Its length by the tokenizer of the run, 0 without one.
        max_tokens: Tokens to generate.
        messages: A whole conversation, where the source has one.
        texts: All texts of a request to a model that generates none; empty: only ``text``.
    """

    text: str
    tokens: int
    max_tokens: int
    messages: tuple[Mapping[str, str], ...] = ()
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Generation:
    """Generation settings, the same for all targets of a run.

    ``forced`` asks for exactly ``max_tokens`` tokens (``ignore_eos`` and ``min_tokens``).
    ``temperature`` 0 is greedy.
    """

    temperature: float = 0.0
    seed: int | None = None
    forced: bool = True

    def parameters(self, max_tokens: int) -> dict[str, int | float | bool]:
        """Return the values by their names in the OpenAI API and in vLLM."""
        values: dict[str, int | float | bool] = {
            "max_tokens": max_tokens,
            "temperature": self.temperature,
        }
        if self.seed is not None:
            values["seed"] = self.seed
        if self.forced:
            values |= {"ignore_eos": True, "min_tokens": max_tokens}
        return values


@dataclass(slots=True)
class Stream:
    """What the client saw of one request; all times in seconds of ``time.perf_counter``.

    Attributes:
        prompt: What was asked.
        intended: When the request was due. In a closed loop this is ``started``.
        started: When its bytes were given to the socket.
        arrivals, pieces: Time and text of each non-empty chunk of the answer.
        counts: Tokens of each chunk as the server reports, None if it does not. Tokens that came
            without text before it (part of a character) are included.
        damaged: Whether invalid characters (lone surrogates) were replaced.
        calls: Whether the chunks include tool calls, whose markup the server left out.
        thinks: Whether the chunks include the model's thinking.
        reasoning_tokens: Tokens of thinking by the server's count, included in ``output_tokens``.
        ended: When the answer was complete, or failed.
        output_tokens, input_tokens: The server's own counts of the whole, if it gave them.
        sequences: Texts or pairs that were answered, of a model that generates no text.
        error: Kind of the first failure (``http 500``, ``dropped``, ``timeout``…), empty on
            success.
        message: The server's message about the failure.
        waited: Whether all connections that this process may open were in use when it was due.
        opening: Seconds that opening a connection took, 0 if one was open.
        secret: Text to remove from messages, such as an API key: some servers repeat it.
        on_failure: Called at the first failure while the answer is read.
    """

    prompt: Prompt
    intended: float
    started: float = 0.0
    arrivals: list[float] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    counts: list[int | None] = field(default_factory=list)
    ended: float = 0.0
    output_tokens: int | None = None
    input_tokens: int | None = None
    sequences: int = 0
    damaged: bool = False
    calls: bool = False
    thinks: bool = False
    reasoning_tokens: int = 0
    finish_reason: str = ""
    error: str = ""
    message: str = ""
    waited: bool = False
    opening: float = 0.0
    secret: str = field(default="", repr=False)
    on_failure: Callable[[], None] | None = field(default=None, repr=False)
    _textless: int = 0

    def piece(self, now: float, text: str, count: int | None = None) -> None:
        """Record a chunk; an empty one (a role, a keep-alive) is ignored.

        A server that splits a surrogate pair sends two lone surrogates, which no tokenizer and no
        file accepts: each is replaced.
        """
        if text:
            kept = whole(text)
            self.damaged = self.damaged or kept is not text
            self.arrivals.append(now)
            self.pieces.append(kept)
            self.counts.append(None if count is None else count + self._textless)
            self._textless = 0
        elif count:
            self._textless += count

    @property
    def hidden(self) -> int:
        """Tokens of thinking that the server counts but does not send."""
        return 0 if self.thinks else self.reasoning_tokens

    @property
    def shown(self) -> int | None:
        """The server's count of the tokens that it sent as text; None without a count."""
        if self.output_tokens is None:
            return None
        return max(0, self.output_tokens - self.hidden)

    def fail(self, now: float, kind: str, message: str = "") -> None:
        """Mark the request as failed; chunks and an earlier failure stay."""
        self.ended = now
        if self.error:
            return
        self.error = kind
        if len(self.secret) >= _SECRET:
            message = message.replace(self.secret, "***")
        # The message is printed to a terminal, which would interpret escape sequences.
        plain = "".join(one if one.isprintable() else " " for one in message)
        self.message = " ".join(plain.split())[:300]
        if self.on_failure is not None:
            self.on_failure()


@dataclass(frozen=True, slots=True)
class Timeline:
    """A finished request with token counts.

    Attributes:
        intended, started, ended: See :class:`Stream`.
        arrivals: Times of the chunks with text that was not an echo of the prompt.
        tokens: Tokens that each of these chunks completed; empty if unknown.
        output_tokens: All tokens of the answer; 0 if unknown.
        input_tokens: Tokens of the prompt; 0 if unknown.
        sequences: As in :class:`Stream`.
    """

    intended: float
    started: float
    ended: float
    arrivals: tuple[float, ...]
    tokens: tuple[int, ...]
    output_tokens: int
    input_tokens: int
    sequences: int = 0

    @property
    def first(self) -> int:
        """Tokens of the first chunk; 1 if unknown."""
        return max(1, self.tokens[0]) if self.tokens else 1

    @property
    def counted(self) -> bool:
        """Whether its token count is known."""
        return bool(self.tokens or self.output_tokens or not self.arrivals)


class BenchTarget(Protocol):
    """A target that answers prompts.

    ``ignored`` are sampling values that it does not support; known once it is open.
    """

    name: str
    ignored: tuple[str, ...]

    async def open(self) -> None:
        """Connect and check that the model is there.

        Raises:
            ServerError: No server answers, or it has no such model.
        """

    async def ask(self, stream: Stream) -> None:
        """Send the prompt and fill ``stream``. Never raises for a failed request."""

    async def close(self) -> None:
        """Close all connections."""


def whole(text: str) -> str:
    """Return ``text`` with each lone surrogate replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


Sink = Callable[[Stream, bool], None]
Json = dict[str, Any]
