"""Where access control, adapters and telemetry plug into the data plane.

Each is a narrow protocol with a default that does nothing, so that a part can be built and tested
without the others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from trtbuild.signature.requests import Chunk, GenerateRequest, TaskAnswer, TaskRequest
from trtbuild.wire.triton_http import TritonHttp

Take = Callable[[Sequence[Chunk]], Awaitable[None] | None]
"""Takes chunks in the moment in which they arrive; what it returns is awaited before the next."""


class Timed(Protocol):
    """What watches the time between tokens: ``last`` is when the last one came."""

    last: float


class TextSink(Protocol):
    """A fast path to the client for texts, which make up most of a stream.

    Attributes:
        clock: Is told of each token.
    """

    clock: Timed

    @property
    def ready(self) -> bool:
        """Whether the answer has begun; nothing is taken before."""

    def take(self, raws: Sequence[bytes], texts: Sequence[str], tokens: int | None) -> bool:
        """Take texts, none of them empty, as JSON and decoded; whether they were: a client may be
        slow. ``tokens`` is the model's count for each."""


ADAPTER = "adapter:"
"""What the address of a model of the registry begins with; the rest is its name."""

SESSION = "x-session-id"
"""The header with what keeps requests on one server. It stays in the gateway."""


class Backend(Protocol):
    """What computes for one model: a Triton server, several of them, or an adapter's process.

    Raises:
        WireError, TrtbuildError, ApiError: From every method.
    """

    async def relay(
        self,
        request: GenerateRequest,
        headers: Mapping[str, str],
        take: Take,
        sink: TextSink | None = None,
    ) -> None:
        """Give the chunks to ``take`` as they arrive, at least one each time, and return at the
        end. Cancelling cancels the request. Chunks that are nothing but texts may go to ``sink``
        instead, in their order."""

    async def ask(
        self, request: TaskRequest, headers: Mapping[str, str] | None = None
    ) -> TaskAnswer:
        """Return the answer to a request of any task except generation."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as the gate recognized it.

    Attributes:
        id: Of the key or the token's subject; empty without access control.
        admin: Whether it may load and unload models.
    """

    id: str = ""
    admin: bool = False


class Workers(Protocol):
    """Runs models on this machine that no Triton server runs."""

    def wire(self, url: str) -> TritonHttp:
        """Return the client of a model by its address."""

    def pid(self, url: str) -> int | None:
        """Return the first process of a model; None while it is not loaded."""

    def usage(self, url: str) -> Mapping[str, float]:
        """Return the figures that a model reports of itself."""

    def adopt(self, registry: Path | None, *, jit_install: bool) -> None:
        """Read the registry again, for the models that are loaded from now on."""

    async def retire(self) -> None:
        """Unload the models that are no longer in the registry."""

    async def preload(self) -> None:
        """Load the models that are wanted from the start."""

    async def close(self) -> None:
        """End all processes."""


class AnswerText(Protocol):
    """One answer on its way to the client."""

    def feed(self, text: str) -> str:
        """Take a piece and return what may be sent; ApiError for an answer that may not."""

    def end(self) -> str:
        """Return the rest."""


class Texts(Protocol):
    """What happens to the texts of a call."""

    @property
    def checks_prompts(self) -> bool:
        """Whether prompts are searched, which needs them as text and not as token ids."""

    @property
    def hides(self) -> bool:
        """Whether something may be missing, which log probabilities would show."""

    async def prompts(self, value: Any, keys: frozenset[str] | None = None) -> Any:
        """Return a text, or a JSON value with texts, as the model may see it; ApiError if it may
        not. ``keys`` are the only names whose texts are meant."""

    def answer(self) -> AnswerText | None:
        """Return what each answer goes through; None if it is sent as it is."""


class PlainTexts:
    """Texts that nobody looks at."""

    checks_prompts = hides = False

    async def prompts(self, value: Any, keys: frozenset[str] | None = None) -> Any:  # noqa: ARG002
        """Return the value."""
        return value

    def answer(self) -> AnswerText | None:
        """Return None."""
        return None


PLAIN = PlainTexts()


@dataclass(slots=True)
class Call:
    """One call of an endpoint.

    Attributes:
        id: The request id, also in the answer's ``x-request-id``.
        endpoint: The route, such as ``/v1/chat/completions``.
        caller: Who asks.
        model: The model's name as given; empty before the body is read.
        prompt_tokens: Tokens of all prompts, 0 if unknown.
        max_tokens: The most tokens that all answers may have, 0 if unknown.
        started: ``time.monotonic()`` at the first byte of the request.
        trace_id: Of the caller's trace, or the gateway's; empty without one.
        texts: What happens to its texts; the gate may set it when it identifies the caller.
    """

    id: str
    endpoint: str
    caller: Caller = field(default_factory=Caller)
    model: str = ""
    prompt_tokens: int = 0
    max_tokens: int = 0
    started: float = 0.0
    trace_id: str = ""
    texts: Texts = PLAIN


@dataclass(slots=True)
class Outcome:
    """How a call ended.

    Attributes:
        status: The HTTP status; 499 if the client left first.
        prompt_tokens, completion_tokens: As reported by the model or counted.
        error: The code of the error, also of one inside a stream with status 200.
        first_token: ``time.monotonic()`` at the first token of a stream, else 0.0.
        later_tokens, later_seconds: What came after the first of each answer of a stream, and the
            time from the first to the last, all answers together.
        ended: ``time.monotonic()`` at the end.
        finish_reasons: Why the model ended each answer, as far as it says.
    """

    status: int = 200
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: str = ""
    first_token: float = 0.0
    later_tokens: int = 0
    later_seconds: float = 0.0
    ended: float = 0.0
    finish_reasons: tuple[str, ...] = ()


class Admission(Protocol):
    """A call that may proceed."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of the answer, such as the limits that are left."""

    async def settle(self, outcome: Outcome) -> None:
        """Note how the call ended. Called once, also when the client has left."""


class Gate(Protocol):
    """Access control."""

    async def identify(self, headers: Mapping[str, str], call: Call) -> Caller:
        """Return who asks, before the body is read; ApiError 401 or 403."""

    async def again(self, caller: str, call: Call, grant: bytes = b"") -> Caller:
        """Return who asked earlier, by the caller's id and grant, for work that goes on after its
        request; ApiError 401 or 403 if that is no longer allowed."""

    def grant(self, caller: Caller) -> bytes:
        """Return what must be kept to know a caller again; empty if the id suffices."""

    def visible(self, caller: Caller, model: str) -> bool:
        """Whether a caller may use a model; others are answered as if there were none."""

    async def admit(self, call: Call) -> Admission:
        """Admit a call whose model and size are known; ApiError 403, 429 or 503."""

    def ended(self, call: Call, outcome: Outcome) -> None:
        """Note a call, admitted or not. Called once at its end, except for health and metrics."""

    def reopen(self) -> None:
        """Go on in new files where the old ones were moved away."""

    async def open(self) -> None:
        """Begin: called once in the event loop, before the first call."""

    async def close(self) -> None:
        """End, after the last call."""


class Free:
    """The admission of a call that nothing limits."""

    headers: Mapping[str, str] = {}

    async def settle(self, outcome: Outcome) -> None:
        """Nothing is counted."""


FREE = Free()


class OpenGate:
    """Admits everybody."""

    async def identify(self, headers: Mapping[str, str], call: Call) -> Caller:  # noqa: ARG002
        """Return a nameless caller."""
        return Caller()

    async def again(self, caller: str, call: Call, grant: bytes = b"") -> Caller:  # noqa: ARG002
        """Return a nameless caller."""
        return Caller()

    def grant(self, caller: Caller) -> bytes:  # noqa: ARG002
        """Return nothing."""
        return b""

    def visible(self, caller: Caller, model: str) -> bool:  # noqa: ARG002
        """Show every model."""
        return True

    async def admit(self, call: Call) -> Admission:  # noqa: ARG002
        """Admit the call."""
        return FREE

    def ended(self, call: Call, outcome: Outcome) -> None:
        """Nothing is noted."""

    def reopen(self) -> None:
        """There are no files."""

    async def open(self) -> None:
        """There is nothing to begin."""

    async def close(self) -> None:
        """There is nothing to end."""
