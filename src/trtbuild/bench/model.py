"""What is asked of a target and what is seen of its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Endpoint = Literal["chat", "completions"]

_SECRET = 8  # characters; what is shorter ("EMPTY", "token") is a word like others


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request.

    Attributes:
        text: The prompt as plain text; for a chat endpoint the user's message.
        tokens: Its length by the tokenizer of the run, 0 when there is none.
        max_tokens: Tokens to generate.
        messages: A whole conversation, where the source has one.
    """

    text: str
    tokens: int
    max_tokens: int
    messages: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Generation:
    """How every target generates: the same for all of a run.

    ``forced`` asks for exactly ``max_tokens`` tokens (``ignore_eos`` and ``min_tokens``).
    ``temperature`` 0 is greedy.
    """

    temperature: float = 0.0
    seed: int | None = None
    forced: bool = True

    def parameters(self, max_tokens: int) -> dict[str, int | float | bool]:
        """The values by the names of the OpenAI API and of vLLM."""
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
        intended: When the request was to be sent. In a closed loop this is ``started``.
        started: When its bytes were given to the socket.
        arrivals, pieces: Time and text of each non-empty piece of the answer.
        counts: Tokens of each piece as the server said, None where it did not. Those that came
            without text before it (half of a character's) are among them.
        damaged: Whether halves of characters came that had to be replaced.
        calls: Whether text of tool calls is among the pieces, whose markup the server left out.
        thinks: Whether text of the model's thinking is among the pieces.
        reasoning_tokens: Tokens of thinking as the server counted them, in ``output_tokens`` too.
        ended: When the answer was complete, or failed.
        output_tokens, input_tokens: The server's own counts of the whole, if it gave them.
        error: Kind of the first failure (``http 500``, ``dropped``, ``timeout``…), empty when it
            worked.
        message: The server's own words about the failure.
        waited: All connections that this process may open were in use when it was to be sent.
        opening: Seconds that a connection took to open, 0 where one was open.
        secret: What no message may hold, such as the key of an API: some servers repeat it.
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
    _textless: int = 0

    def piece(self, now: float, text: str, count: int | None = None) -> None:
        """Text arrived; an empty text (a role, a keep-alive) is no content and is ignored.

        A server that cuts a pair of surrogates sends two lone halves, which no tokenizer and no
        file takes: each is replaced.
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
        """Tokens of thinking that the server counts and whose text it keeps to itself."""
        return 0 if self.thinks else self.reasoning_tokens

    @property
    def shown(self) -> int | None:
        """The server's count of the tokens whose text came; None if it gave none."""
        if self.output_tokens is None:
            return None
        return max(0, self.output_tokens - self.hidden)

    def fail(self, now: float, kind: str, message: str = "") -> None:
        """The request failed; what came before stays, an earlier failure too."""
        self.ended = now
        if self.error:
            return
        self.error = kind
        if len(self.secret) >= _SECRET:
            message = message.replace(self.secret, "***")
        # A server's words are shown on a terminal, which would obey an escape sequence in them.
        plain = "".join(one if one.isprintable() else " " for one in message)
        self.message = " ".join(plain.split())[:300]


@dataclass(frozen=True, slots=True)
class Timeline:
    """A finished request, its text turned into tokens.

    Attributes:
        intended, started, ended: See :class:`Stream`.
        arrivals: Times of the pieces that had text which was not an echo of the prompt.
        tokens: Tokens that each of these pieces completed; empty when they are not known.
        output_tokens: All tokens of the answer; 0 when not known.
        input_tokens: Tokens of the prompt; 0 when not known.
    """

    intended: float
    started: float
    ended: float
    arrivals: tuple[float, ...]
    tokens: tuple[int, ...]
    output_tokens: int
    input_tokens: int

    @property
    def first(self) -> int:
        """Tokens of the first piece; 1 where they are not known."""
        return max(1, self.tokens[0]) if self.tokens else 1

    @property
    def counted(self) -> bool:
        """Whether its tokens are known: text that nobody counted has some."""
        return bool(self.tokens or self.output_tokens or not self.arrivals)


class BenchTarget(Protocol):
    """Something that answers prompts.

    ``ignored`` are sampling values that it has no way to take; known once it is open.
    """

    name: str
    ignored: tuple[str, ...]

    async def open(self) -> None:
        """Connect and make sure that the model is there.

        Raises:
            ServerError: No server, no such model.
        """

    async def ask(self, stream: Stream) -> None:
        """Send the prompt and fill ``stream`` until its end. Never raises for a failed request."""

    async def close(self) -> None:
        """End all connections."""


def whole(text: str) -> str:
    """``text`` with each lone half of a surrogate pair replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


Sink = Callable[[Stream, bool], None]
Json = dict[str, Any]
