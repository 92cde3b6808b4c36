"""``openai:http://HOST:PORT/v1#MODEL`` of a model that generates no text."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trtbuild.wire.pool import Pool
from trtbuild_measure.bench.model import Prompt, Stream
from trtbuild_measure.bench.targets.openai import require_listed
from trtbuild_measure.bench.targets.streaming import UNREADABLE, answered, failure_in

_LIMIT = 1 << 30  # bytes of an answer: 10,000 vectors of 4,096 numbers as base64 are 220 MB


@dataclass(frozen=True, slots=True)
class _Task:
    """A path, the request besides the model, and the member of the answer with one row a text."""

    path: str
    body: Callable[[tuple[str, ...]], dict[str, Any]]
    rows: str


# base64 is what OpenAI's own clients ask for, and a quarter of the bytes of decimal numbers.
TASKS = {
    "embeddings": _Task(
        "/embeddings", lambda texts: {"input": list(texts), "encoding_format": "base64"}, "data"
    ),
    "rerank": _Task(
        "/rerank",
        lambda texts: {"query": texts[0], "documents": list(texts), "return_documents": False},
        "results",
    ),
}
"""What each endpoint is asked, by its name in ``--endpoint``."""


class OpenAITaskTarget:
    """``/embeddings`` in OpenAI's form, ``/rerank`` in Jina's and Cohere's.

    Args:
        name: Its name in results.
        url: ``http://HOST:PORT/v1``.
        model: The model's name at the server.
        endpoint: One of :data:`TASKS`.
        timeout: Seconds to wait for a whole answer.
        api_key: Sent as a bearer token when not empty.
        connections: Maximum open connections; None: as many as this process may open.
    """

    pooling = True

    def __init__(
        self,
        name: str,
        url: str,
        model: str,
        *,
        endpoint: str,
        timeout: float = 600,
        api_key: str = "",
        connections: int | None = None,
    ) -> None:
        self.name = name
        self.ignored: tuple[str, ...] = ()
        self._url = url
        self._model = model
        self._task = TASKS[endpoint]
        self._timeout = timeout
        self._api_key = api_key
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._pool = Pool(url, headers, connections)

    async def open(self) -> None:
        """See :class:`~trtbuild_measure.bench.model.Target`."""
        await require_listed(self._pool, self._url, self._model)

    async def ask(self, stream: Stream) -> None:
        """See :class:`~trtbuild_measure.bench.model.Target`."""
        stream.secret = self._api_key
        request = self._pool.request("POST", self._task.path, self.body(stream.prompt))
        answer = await answered(self._pool, request, stream, self._timeout, limit=_LIMIT)
        if answer is not None:
            self._read(stream, answer.body)

    async def close(self) -> None:
        """See :class:`~trtbuild_measure.bench.model.Target`."""
        self._pool.close()

    def body(self, prompt: Prompt) -> bytes:
        """Return the JSON of a request for the texts of a prompt."""
        asked = {"model": self._model, **self._task.body(prompt.texts or (prompt.text,))}
        return json.dumps(asked, ensure_ascii=False).encode("utf-8")

    def _read(self, stream: Stream, body: bytes) -> None:
        """Count the rows and take the server's number of tokens."""
        try:
            found = json.loads(body)
            if failed := failure_in(found):
                stream.fail(stream.ended, "server error", failed)
                return
            usage = found.get("usage") or {}
            tokens = int(usage.get("prompt_tokens") or usage.get("total_tokens") or 0)
            rows = len(found[self._task.rows])
        except UNREADABLE:
            said = body[:80].decode("utf-8", "replace")
            stream.fail(stream.ended, "malformed", f"not an answer of {self._task.path}: {said}")
            return
        wanted = len(stream.prompt.texts) or 1
        stream.sequences, stream.input_tokens = wanted, tokens or None
        if rows != wanted:
            stream.fail(stream.ended, "malformed", f"an answer has {rows} rows for {wanted} texts")
