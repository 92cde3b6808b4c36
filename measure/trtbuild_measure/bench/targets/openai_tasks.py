"""``openai:http://HOST:PORT/v1#MODEL`` of a model that generates no text."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from trtbuild_measure.bench.model import Prompt, Stream
from trtbuild_measure.bench.targets.openai import OpenAIModel
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


@dataclass(slots=True)
class OpenAITaskTarget(OpenAIModel):
    """``/embeddings`` in OpenAI's form, ``/rerank`` in Jina's and Cohere's.

    ``endpoint`` is one of :data:`TASKS`.
    """

    pooling: ClassVar[bool] = True

    _: KW_ONLY
    endpoint: str

    async def ask(self, stream: Stream) -> None:
        """See :class:`~trtbuild_measure.bench.model.BenchTarget`."""
        stream.secret = self.api_key
        path = TASKS[self.endpoint].path
        request = self.pool.request("POST", path, self.body(stream.prompt))
        answer = await answered(self.pool, request, stream, self.timeout, limit=_LIMIT)
        if answer is not None:
            self._read(stream, answer.body)

    def body(self, prompt: Prompt) -> bytes:
        """Return the JSON of a request for the texts of a prompt."""
        texts = prompt.texts or (prompt.text,)
        asked = {"model": self.model, **TASKS[self.endpoint].body(texts)}
        return json.dumps(asked, ensure_ascii=False).encode("utf-8")

    def _read(self, stream: Stream, body: bytes) -> None:
        """Count the rows and take the server's number of tokens."""
        task = TASKS[self.endpoint]
        try:
            found = json.loads(body)
            if failed := failure_in(found):
                stream.fail(stream.ended, "server error", failed)
                return
            usage = found.get("usage") or {}
            tokens = int(usage.get("prompt_tokens") or usage.get("total_tokens") or 0)
            rows = len(found[task.rows])
        except UNREADABLE:
            said = body[:80].decode("utf-8", "replace")
            stream.fail(stream.ended, "malformed", f"not an answer of {task.path}: {said}")
            return
        wanted = len(stream.prompt.texts) or 1
        stream.sequences, stream.input_tokens = wanted, tokens or None
        if rows != wanted:
            stream.fail(stream.ended, "malformed", f"an answer has {rows} rows for {wanted} texts")
