"""``openai:http://HOST:PORT/v1#MODEL``: an endpoint with OpenAI's API."""

from __future__ import annotations

import asyncio
import difflib
import json
import ssl
import time
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar

from trtbuild.errors import ServerError
from trtbuild.wire.failures import DroppedError, MalformedError
from trtbuild.wire.pool import Pool
from trtbuild_measure.bench.model import Endpoint, Generation, Prompt, Stream
from trtbuild_measure.bench.targets import jsontext
from trtbuild_measure.bench.targets.streaming import (
    UNREADABLE,
    converse,
    distrusted,
    failure_in,
    unreachable,
    words,
)

_DONE = b"[DONE]"
# Finish reasons that mean a failure, from vLLM, SGLang and gateways.
_FAILED = frozenset(
    {"error", "abort", "aborted", "cancelled", "canceled", "failed", "failure"}
    | {"insufficient_system_resource"}  # DeepSeek's: the answer was cut off
)


@dataclass(slots=True)
class OpenAIModel:
    """A model at an endpoint of OpenAI's form.

    Args:
        name: Its name in results.
        url: ``http://HOST:PORT/v1``.
        model: The model's name at the server.
        timeout: Seconds to wait for a whole answer.
        api_key: Sent as a bearer token when not empty.
        connections: Maximum open connections; None: as many as this process may open.
    """

    accept: ClassVar[str] = "*/*"

    name: str
    url: str
    model: str
    _: KW_ONLY
    timeout: float = 600
    api_key: str = field(default="", repr=False)
    connections: int | None = None
    ignored: tuple[str, ...] = field(default=(), init=False)
    pool: Pool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        headers = {"Accept": self.accept}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        self.pool = Pool(self.url, headers, self.connections)

    async def open(self) -> None:
        """See :class:`~trtbuild_measure.bench.model.BenchTarget`."""
        await _require_listed(self.pool, self.url, self.model)

    async def close(self) -> None:
        """See :class:`~trtbuild_measure.bench.model.BenchTarget`."""
        self.pool.close()


@dataclass(slots=True)
class OpenAITarget(OpenAIModel):
    """Streams of ``/chat/completions`` or, by ``endpoint``, ``/completions``."""

    accept: ClassVar[str] = "text/event-stream"

    generation: Generation
    _: KW_ONLY
    endpoint: Endpoint = "chat"

    async def ask(self, stream: Stream) -> None:
        """See :class:`~trtbuild_measure.bench.model.BenchTarget`."""
        stream.secret = self.api_key
        chat = self.endpoint == "chat"
        path = "/chat/completions" if chat else "/completions"
        request = self.pool.request("POST", path, self.body(stream.prompt))
        reader = _Reader(stream, chat=chat)
        ended = await converse(self.pool, request, stream, reader.event, self.timeout)
        if ended and not reader.done and not stream.finish_reason:
            stream.fail(stream.ended, "dropped", "the stream ended without a reason or [DONE]")

    def body(self, prompt: Prompt) -> bytes:
        """Return the JSON of a request."""
        asked: dict[str, Any] = {"model": self.model}
        if self.endpoint == "chat":
            asked["messages"] = list(prompt.messages) or [{"role": "user", "content": prompt.text}]
        else:
            asked["prompt"] = prompt.text
        asked |= self.generation.parameters(prompt.max_tokens)
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
        return json.dumps(asked, ensure_ascii=False).encode("utf-8")


async def _require_listed(pool: Pool, url: str, model: str) -> None:
    """Check that the server answers and, if it lists models, has this one.

    Raises:
        ServerError: No server answers, or it has no such model.
    """
    try:
        async with asyncio.timeout(10):
            answer = await pool.fetch(pool.request("GET", "/models"))
    except ssl.SSLError as error:
        raise distrusted(url, error) from None
    except (OSError, TimeoutError) as error:
        why = str(error) or "no answer within 10 s"
        raise unreachable(url, why, ours=False) from None
    except (DroppedError, MalformedError):
        return  # a server that does not list models
    known = _model_names(answer.body) if answer.status == 200 else ()
    if known and model not in known:
        near = difflib.get_close_matches(model, known, 1)
        raise ServerError(
            f"{url} has no model {model!r}",
            where=f"it serves {', '.join(known)}",
            fix=f"did you mean {near[0]!r}?" if near else f"write openai:{url}#{known[0]}",
        )


class _Reader:
    """Turns the events of one answer into chunks."""

    def __init__(self, stream: Stream, *, chat: bool) -> None:
        self.done = False
        self._stream = stream
        self._chat = chat
        self._so_far = 0  # tokens so far, by the usage in each chunk

    def event(self, now: float, data: bytes) -> None:
        if self.done or data == _DONE:
            self.done = True
            return
        try:
            found = jsontext.parse(data)
            choices, usage = found.get("choices"), found.get("usage")
            count = self._usage(usage) if usage else None
            if choices:
                self._choice(now, choices[0], count)
            if failed := failure_in(found):
                self._stream.fail(now, "server error", failed)
        except UNREADABLE:
            said = data[:80].decode("utf-8", "replace")
            self._stream.fail(time.perf_counter(), "malformed", f"not an event of the API: {said}")

    def _usage(self, usage: dict[str, Any]) -> int | None:
        """Record the server's counts; return the new tokens, None if the count decreased."""
        stream = self._stream
        made = int(usage.get("completion_tokens") or 0)
        details = usage.get("completion_tokens_details") or {}
        thought = int(details.get("reasoning_tokens") or usage.get("reasoning_tokens") or 0)
        asked = int(usage.get("prompt_tokens") or 0)
        if thought and int(usage.get("total_tokens") or 0) == asked + made + thought:
            made += thought  # some servers count it apart
        stream.output_tokens, stream.input_tokens = made or None, asked or None
        stream.reasoning_tokens = thought
        since, self._so_far = made - thought - self._so_far, made - thought
        return since if since >= 0 else None

    def _choice(self, now: float, choice: dict[str, Any], count: int | None) -> None:
        text = self._delta(choice.get("delta") or {}) if self._chat else _text(choice.get("text"))
        self._stream.piece(now, text, count)
        ended = choice.get("finish_reason")
        kind = ended.get("type") if isinstance(ended, dict) else ended
        self._stream.finish_reason = str(kind or self._stream.finish_reason)
        if failed := choice.get("error"):
            self._stream.fail(now, "server error", words(failed))
        elif kind in _FAILED:
            said = words(ended) if isinstance(ended, dict) else f"finish_reason {kind}"
            self._stream.fail(now, "server error", said)

    def _delta(self, delta: dict[str, Any]) -> str:
        """Return the text of a chunk. Reasoning is generated text like the rest, under one of
        two names; the chunk in which it ends may hold both."""
        thought = _text(delta.get("reasoning_content")) or _text(delta.get("reasoning"))
        self._stream.thinks = self._stream.thinks or bool(thought)
        said = _text(delta.get("content")) or _text(delta.get("refusal"))
        calls = [call.get("function") or {} for call in delta.get("tool_calls") or ()]
        calls.append(delta.get("function_call") or {})  # its older name
        called = "".join(_text(one.get("name")) + _text(one.get("arguments")) for one in calls)
        self._stream.calls = self._stream.calls or bool(called)
        return thought + said + called


def _text(value: Any) -> str:
    """Return a text, or the text of a list of parts; TypeError for anything else."""
    if isinstance(value, list):
        return "".join(_text(part["text"]) for part in value if part.get("type", "text") == "text")
    return "" + (value or "")


def _model_names(body: bytes) -> tuple[str, ...]:
    try:
        return tuple(str(item["id"]) for item in json.loads(body)["data"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return ()
