"""An endpoint with OpenAI's API: vLLM's server, the gateway, and others."""

from __future__ import annotations

import base64
import binascii
import difflib
import json
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from trtbuild.errors import ServerError
from trtbuild.signature.requests import EmbedRequest, GenerateRequest, RerankRequest
from trtbuild.signature.sampling import Sampling
from trtbuild.wire.failures import (
    UNREADABLE,
    DeadlineError,
    DroppedError,
    MalformedError,
    UnreachableError,
    WireError,
)
from trtbuild.wire.response import Response
from trtbuild.wire.triton_http import TritonHttp
from trtbuild_batch.asking import Call, Conversation, Question
from trtbuild_batch.engine import CallError, Kind, Outcome
from trtbuild_batch.targets.identity import identified

_TOO_LONG = re.compile(r"context[_ ]length|maximum context|longer than the (model|maximum)", re.I)
_KINDS = {408: Kind.TIMEOUT, 409: Kind.UNAVAILABLE, 425: Kind.UNAVAILABLE, 429: Kind.RATE,
          502: Kind.UNAVAILABLE, 503: Kind.UNAVAILABLE, 504: Kind.UNAVAILABLE}  # fmt: skip
_OF_ONE = ("content_refused", "endpoint_not_allowed")
"""Codes of the gateway's 403 for one request: an answer that it withholds, a path."""
_Made = TypeVar("_Made")
Read = Callable[[Any, bytes], _Made]
"""Reads an answer, which is given as an object and as bytes."""


class OpenAITarget:
    """Calls one model behind a base URL such as ``http://HOST:PORT/v1``.

    Args:
        url: The base URL.
        model: The model's name there; empty if each call names its own.
        timeout: Seconds for a whole answer.
        api_key: Sent as a bearer token when not empty.
        connections: Most open connections.
    """

    def __init__(
        self, url: str, model: str, *, timeout: float, api_key: str = "", connections: int = 512
    ) -> None:
        self.url = url
        self.model = model
        self._timeout = timeout
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = TritonHttp(url, headers=headers, connections=connections, limit=256 << 20)

    async def open(self) -> Mapping[str, Any]:
        """Check that the endpoint answers and has the model; return nothing more about it.

        Raises:
            ServerError: It does not.
        """
        try:
            answer = await self._http.fetch("GET", "/models", seconds=10)
        except (UnreachableError, DeadlineError) as error:
            raise ServerError(
                f"nothing answers at {self.url}",
                where=str(error),
                fix="start the server, or correct --target",
            ) from None
        except WireError:
            return {}  # a server that does not list models
        if answer.status in (401, 403):
            raise ServerError(
                f"{self.url} refuses the API key",
                fix="name the variable that has it: --api-key-env OPENAI_API_KEY",
            )
        known = _models(answer)
        if self.model and known and self.model not in known:
            near = difflib.get_close_matches(self.model, known, 1)
            raise ServerError(
                f"{self.url} has no model {self.model!r}",
                where=f"it serves {', '.join(known[:20])}",
                fix=f"did you mean {near[0]!r}?" if near else f"use --model {known[0]}",
            )
        return {}

    async def alive(self) -> bool:
        """Whether it answers anything now."""
        try:
            await self._http.fetch("GET", "/models", seconds=5)
        except WireError:
            return False
        return True

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def ask(self, question: Question) -> Outcome:
        """Return the answer. CallError without one."""
        if isinstance(question, EmbedRequest):
            return (await self.embed(question))[0]
        path, body, read = self._request(question)
        headers = question.headers if isinstance(question, Call) else None
        return await self._answer(path, body, read, headers)

    async def embed(self, request: EmbedRequest) -> list[Outcome]:
        """Return a vector for each text. CallError without them."""
        given = {"input_type": request.input_type, "dimensions": request.dimensions}
        body = {
            "model": self.model,
            "input": request.inputs if len(request.inputs) > 1 else request.inputs[0],
            "encoding_format": "base64",
            **{name: value for name, value in given.items() if value},
        }
        return await self._answer("/embeddings", body, _vectors(len(request.inputs)))

    async def _answer(
        self,
        path: str,
        body: Mapping[str, Any],
        read: Read[_Made],
        headers: Mapping[str, str] | None = None,
    ) -> _Made:
        with identified(headers or {}) as given:
            answer = await self._post(path, body, given, own=headers is not None)
            try:
                return read(json.loads(answer.body), answer.body)
            except UNREADABLE:
                shown = answer.body[:200].decode("utf-8", "replace")
                raise CallError(Kind.MALFORMED, f"not an answer of the API: {shown}") from None

    def _request(
        self, question: Conversation | GenerateRequest | RerankRequest | Call
    ) -> tuple[str, Mapping[str, Any], Read[Outcome]]:
        named: dict[str, Any] = {"model": self.model}
        match question:
            case Conversation(messages, sampling):
                return (
                    "/chat/completions",
                    named | {"messages": messages} | _sampled(sampling),
                    _chat,
                )
            case GenerateRequest():
                more = _sampled(question.sampling)
                return "/completions", named | {"prompt": question.prompt} | more, _completion
            case RerankRequest():
                asked = {"query": question.query, "documents": question.documents}
                return "/rerank", named | asked, _scores(len(question.documents))
            case Call(path, body):
                return path, body, _whole

    async def _post(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str], *, own: bool
    ) -> Response:
        try:
            content = json.dumps(body, ensure_ascii=False).encode("utf-8")
        except (UnicodeEncodeError, ValueError, TypeError) as error:
            raise CallError(Kind.INPUT, f"the row cannot be sent as JSON: {error}") from None
        try:
            answer = await self._http.fetch("POST", path, content, headers, seconds=self._timeout)
        except WireError as error:
            raise CallError(kind_of(error), str(error)) from None
        if not answer.good:
            raise _refusal(answer, self.model, own=own)
        return answer


def kind_of(error: WireError) -> Kind:
    """Return why a call has no answer."""
    if isinstance(error, DeadlineError):
        return Kind.TIMEOUT
    if isinstance(error, UnreachableError | DroppedError):
        return Kind.CONNECTION
    return Kind.MALFORMED if isinstance(error, MalformedError) else Kind.SERVER


def kind_of_status(status: int, message: str) -> Kind:
    """Return why a server answered with this HTTP status."""
    if status in _KINDS:
        return _KINDS[status]
    if status >= 500:
        return Kind.SERVER
    return Kind.CONTEXT if _TOO_LONG.search(message) else Kind.REFUSED


def _refusal(answer: Response, model: str, *, own: bool) -> CallError:
    """Return the error; ``own`` is a request that somebody else wrote, with a path of its own."""
    text = answer.body.decode("utf-8", "replace").strip()
    message = text[:500] or f"HTTP status {answer.status}"
    code = ""
    try:
        error = json.loads(text)["error"]
        message = str(error["message"] if isinstance(error, dict) else error)
        code = str(error.get("code", "")) if isinstance(error, dict) else ""
    except UNREADABLE:
        pass
    if answer.location:
        message = f"it sends requests on to {answer.location}"
    kind = kind_of_status(answer.status, f"{code} {message}")
    return CallError(
        kind,
        f"{answer.status}: {message}",
        retry_after=answer.retry_after,
        fatal=_is_fatal(answer.status, code, message, model, own=own),
    )


def _is_fatal(status: int, code: str, message: str, model: str, *, own: bool) -> bool:
    """Whether every other request will be refused, too, and not this text, path or model alone."""
    if status == 403:
        return code not in _OF_ONE
    if status == 404:
        return bool(model) and (not own or model in message)
    return status == 401


def _models(answer: Response) -> list[str]:
    try:
        return [str(row["id"]) for row in json.loads(answer.body)["data"]] if answer.good else []
    except UNREADABLE:
        return []


def _sampled(sampling: Sampling) -> dict[str, Any]:
    return {**sampling.given(), **sampling.more}


def _usage(found: Mapping[str, Any]) -> tuple[int | None, int | None]:
    usage = found.get("usage") or {}
    prompt = usage.get("prompt_tokens", usage.get("input_tokens", usage.get("total_tokens")))
    made = usage.get("completion_tokens", usage.get("output_tokens"))
    return (None if prompt is None else int(prompt), None if made is None else int(made))


def _chat(found: Mapping[str, Any], _: bytes) -> Outcome:
    choice = found["choices"][0]
    return Outcome(
        str(choice["message"].get("content") or ""),
        str(choice.get("finish_reason") or ""),
        *_usage(found),
    )


def _completion(found: Mapping[str, Any], _: bytes) -> Outcome:
    choice = found["choices"][0]
    return Outcome(str(choice["text"]), str(choice.get("finish_reason") or ""), *_usage(found))


def _vectors(count: int) -> Read[list[Outcome]]:
    def read(found: Mapping[str, Any], _: bytes) -> list[Outcome]:
        rows: list[Outcome | None] = [None] * count
        # The tokens of several texts are counted together.
        tokens = _usage(found) if count == 1 else (None, None)
        for at, one in enumerate(found["data"]):
            rows[int(one.get("index", at))] = Outcome(floats(one["embedding"]), "", *tokens)
        complete = [one for one in rows if one is not None]
        if len(complete) < count:
            raise ValueError("a text has no vector")
        return complete

    return read


def floats(value: str | Sequence[float]) -> bytes:
    """Return numbers as the bytes of little-endian float32. ValueError if they are none."""
    if isinstance(value, str):
        try:
            raw = base64.b64decode(value, validate=True)
        except binascii.Error as error:
            raise ValueError(str(error)) from None
        if not raw or len(raw) % 4:
            raise ValueError("not float32")
        return raw
    if not value:
        raise ValueError("an empty vector")
    try:
        return struct.pack(f"<{len(value)}f", *value)
    except (struct.error, OverflowError) as error:
        raise ValueError(str(error)) from None


def _scores(count: int) -> Read[Outcome]:
    def read(found: Mapping[str, Any], _: bytes) -> Outcome:
        scores: list[float | None] = [None] * count
        for one in found["results"]:
            scores[int(one["index"])] = float(one["relevance_score"])
        if None in scores:
            raise ValueError("a document has no score")
        return Outcome(floats([one for one in scores if one is not None]), "", *_usage(found))

    return read


def _whole(found: Mapping[str, Any], body: bytes) -> Outcome:
    choices = found.get("choices") or [{}]
    return Outcome(
        body.decode("utf-8").strip(), str(choices[0].get("finish_reason") or ""), *_usage(found)
    )
