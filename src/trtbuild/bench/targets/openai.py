"""``openai:http://HOST:PORT/v1#MODEL``: an endpoint that speaks OpenAI's API."""

from __future__ import annotations

import asyncio
import difflib
import json
import ssl
import time
from typing import Any

from trtbuild.bench.model import Endpoint, Generation, Prompt, Stream
from trtbuild.bench.response import Malformed
from trtbuild.bench.targets.streaming import (
    UNREADABLE,
    converse,
    distrusted,
    unreachable,
    words,
)
from trtbuild.bench.wire import Dropped, Pool
from trtbuild.errors import ServerError

_DONE = b"[DONE]"


class OpenAITarget:
    """Streams of ``/chat/completions`` or ``/completions``.

    Args:
        name: How results call it.
        url: ``http://HOST:PORT/v1``.
        model: The model's name at the server.
        generation: How to generate.
        endpoint: Which of the two.
        timeout: Seconds for a whole answer.
        api_key: Sent as a bearer token when not empty.
        connections: How many may be open at once; None: as many as this process may open.
    """

    def __init__(
        self,
        name: str,
        url: str,
        model: str,
        generation: Generation,
        *,
        endpoint: Endpoint = "chat",
        timeout: float = 600,
        api_key: str = "",
        connections: int | None = None,
    ) -> None:
        self.name = name
        self.ignored: tuple[str, ...] = ()
        self.url = url
        self.model = model
        self.endpoint = endpoint
        self._generation = generation
        self._timeout = timeout
        self._path = "/chat/completions" if endpoint == "chat" else "/completions"
        self._api_key = api_key
        headers = {"Accept": "text/event-stream"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        self._pool = Pool(url, headers, connections)

    async def open(self) -> None:
        """See :class:`~trtbuild.bench.model.Target`."""
        try:
            async with asyncio.timeout(10):
                answer = await self._pool.fetch("GET", "/models")
        except ssl.SSLError as error:
            raise distrusted(self.url, error) from None
        except (OSError, TimeoutError) as error:
            raise unreachable(self.url, str(error) or "no answer within 10 s") from None
        except (Dropped, Malformed):
            return  # somebody is there, who does not list models
        known = _model_names(answer.body) if answer.status == 200 else ()
        if known and self.model not in known:
            near = difflib.get_close_matches(self.model, known, 1)
            raise ServerError(
                f"{self.url} has no model {self.model!r}",
                where=f"it serves {', '.join(known)}",
                fix=f"did you mean {near[0]!r}?" if near else f"write openai:{self.url}#{known[0]}",
            )

    async def ask(self, stream: Stream) -> None:
        """See :class:`~trtbuild.bench.model.Target`."""
        stream.secret = self._api_key
        request = self._pool.request("POST", self._path, self.body(stream.prompt))
        reader = _Reader(stream, chat=self.endpoint == "chat")
        ended = await converse(self._pool, request, stream, reader.event, self._timeout)
        if ended and not reader.done and not stream.finish_reason:
            stream.fail(stream.ended, "dropped", "the stream ended without a reason or [DONE]")

    async def close(self) -> None:
        """See :class:`~trtbuild.bench.model.Target`."""
        self._pool.close()

    def body(self, prompt: Prompt) -> bytes:
        """The JSON of a request."""
        asked: dict[str, Any] = {"model": self.model}
        if self.endpoint == "chat":
            asked["messages"] = list(prompt.messages) or [{"role": "user", "content": prompt.text}]
        else:
            asked["prompt"] = prompt.text
        asked |= self._generation.parameters(prompt.max_tokens)
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
        return json.dumps(asked, ensure_ascii=False).encode("utf-8")


class _Reader:
    """Turns the events of one answer into pieces."""

    def __init__(self, stream: Stream, *, chat: bool) -> None:
        self.done = False
        self._stream = stream
        self._chat = chat

    def event(self, now: float, data: bytes) -> None:
        if data == _DONE:
            self.done = True
            return
        try:
            found = json.loads(data)
            choices = found.get("choices")
            if choices:
                self._choice(now, choices[0])
            if usage := found.get("usage"):
                self._stream.output_tokens = int(usage.get("completion_tokens") or 0) or None
                self._stream.input_tokens = int(usage.get("prompt_tokens") or 0) or None
            if failed := found.get("error"):
                self._stream.fail(now, "server error", words(failed))
        except UNREADABLE as error:
            self._stream.fail(time.perf_counter(), "malformed", f"{error}: {data[:80]!r}")

    def _choice(self, now: float, choice: dict[str, Any]) -> None:
        if self._chat:
            delta = choice.get("delta") or {}
            # What a model thinks aloud is generated like the rest, under one of two names. The
            # chunk in which it stops thinking may hold both.
            thought = delta.get("reasoning_content") or delta.get("reasoning") or ""
            text = thought + (delta.get("content") or "")
        else:
            text = "" + (choice.get("text") or "")
        self._stream.piece(now, text)
        self._stream.finish_reason = choice.get("finish_reason") or self._stream.finish_reason


def _model_names(body: bytes) -> tuple[str, ...]:
    try:
        return tuple(str(item["id"]) for item in json.loads(body)["data"])
    except (ValueError, KeyError, TypeError):
        return ()
