"""A model behind OpenAI's API: the gateway, vLLM's server and others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from trtbuild.errors import ServerError, UsageError
from trtbuild.wire.failures import WireError
from trtbuild.wire.response import Response
from trtbuild.wire.triton_http import TritonHttp
from trtbuild_measure.answers.model import TOP, Answer, Step, Token, ordered
from trtbuild_measure.answers.prompts import Prompt

_UNREADABLE = (
    ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError
)  # fmt: skip
_ID = "token_id:"
# vLLM's parameters. The first writes ids in place of texts; a generation_config.json may ask for a
# penalty, with which the most probable token is not the one that is chosen.
_EXTENSIONS: Mapping[str, Any] = {"return_tokens_as_token_ids": True, "repetition_penalty": 1.0}


class OpenAIModel:
    """Asks ``/chat/completions`` and ``/completions`` of a base URL.

    Args:
        url: Such as ``http://HOST:PORT/v1``.
        model: The model's name there.
        timeout: Seconds for an answer.
        api_key: Sent as a bearer token when not empty.

    Attributes:
        url: The base URL.
        model: The model's name there.
        path: The path of the base URL, such as ``/v1``.
    """

    def __init__(self, url: str, model: str, *, timeout: float, api_key: str = "") -> None:
        self.url = url.rstrip("/")
        self.model = model
        self._timeout = timeout
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        root = urlsplit(self.url)
        # vLLM and the gateway have /tokenize beside /v1.
        self.path = root.path
        self._http = TritonHttp(root._replace(path="").geturl(), headers=headers, limit=64 << 20)
        self._extensions = _EXTENSIONS
        self._tokenizes = True

    async def open(self) -> None:
        """See :class:`~trtbuild_measure.answers.model.Model`."""
        answer = await self.fetch("GET", f"{self.path}/models")
        if answer.status in (401, 403):
            raise self._refused(answer, "name the variable with the key: --api-key-env NAME")
        try:
            known = [str(one["id"]) for one in json.loads(answer.body)["data"]]
        except _UNREADABLE:
            known = []  # a server that does not list models
        if known and self.model not in known:
            raise ServerError(
                f"{self.url} has no model {self.model!r}",
                where=f"it serves {', '.join(known[:20])}",
                fix=f"write openai:{self.url}#{known[0]}",
            )

    async def close(self) -> None:
        """See :class:`~trtbuild_measure.answers.model.Model`."""
        await self._http.close()

    async def ask(self, prompt: Prompt, *, logprobs: bool) -> Answer:
        """See :class:`~trtbuild_measure.answers.model.Model`."""
        chat = bool(prompt.messages)
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": prompt.max_tokens,
            "temperature": 0,
        }
        body |= {"messages": prompt.messages} if chat else {"prompt": prompt.prompt}
        if prompt.chat_template_kwargs:
            body["chat_template_kwargs"] = prompt.chat_template_kwargs
        if logprobs:
            body |= {"logprobs": True, "top_logprobs": TOP} if chat else {"logprobs": TOP}
        path = f"{self.path}/{'chat/' if chat else ''}completions"
        answer = await self._post(path, body)
        try:
            found = json.loads(answer.body)
            choice = found["choices"][0]
            text = choice["message"].get("content") if chat else choice["text"]
            read = _chat_steps if chat else _completion_steps
            steps = read(choice.get("logprobs") or {}) if logprobs else ()
            count = (found.get("usage") or {}).get("prompt_tokens")
            count = None if count is None else int(count)
        except _UNREADABLE as error:
            shown = answer.body[:200].decode("utf-8", "replace")
            raise ServerError(
                f"{self.url} sent no answer of OpenAI's API ({error})",
                where=shown,
                fix="give the base URL, such as openai:http://127.0.0.1:9000/v1#MODEL",
            ) from None
        if logprobs and not steps:
            raise without_logprobs(self.model)
        tokens = await self._prompt_tokens(prompt) if logprobs else None
        return Answer(str(text or ""), steps, tokens, count)

    async def _post(self, path: str, body: Mapping[str, Any]) -> Response:
        extensions = self._extensions if "logprobs" in body else {}
        answer = await self.fetch("POST", path, {**body, **extensions})
        if extensions and answer.status in (400, 422):
            self._extensions = {}  # a server that knows no parameters of vLLM
            answer = await self.fetch("POST", path, body)
        if not answer.good:
            raise self._refused(answer, "correct the prompt, or give the model more context")
        return answer

    async def _prompt_tokens(self, prompt: Prompt) -> tuple[int, ...] | None:
        """Return what the prompt becomes; None where the server does not tell."""
        if not self._tokenizes:
            return None
        body: dict[str, Any] = {"model": self.model}
        if prompt.messages:
            # A chat template writes the special tokens itself.
            body |= {"messages": prompt.messages, "add_special_tokens": False}
            body["chat_template_kwargs"] = prompt.chat_template_kwargs
        else:
            body["prompt"] = prompt.prompt
        answer = await self.fetch("POST", "/tokenize", body)
        try:
            if answer.good:
                return tuple(int(one) for one in json.loads(answer.body)["tokens"])
        except _UNREADABLE:
            pass
        self._tokenizes = False
        return None

    async def fetch(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Response:
        """Return the answer to any request, whatever its status; the path is from the root.

        Raises:
            UsageError: The body is not Unicode.
            ServerError: There is no answer.
        """
        try:
            content = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise UsageError(
                f"a prompt cannot be sent as UTF-8: {error}", fix="correct its escapes (\\ud800…)"
            ) from None
        try:
            return await self._http.fetch(method, path, content, seconds=self._timeout)
        except WireError as error:
            raise ServerError(
                f"{self.url} does not answer: {error}",
                fix="start the server, correct --target, or give it longer: --timeout",
            ) from None

    def _refused(self, answer: Response, fix: str) -> ServerError:
        said = answer.body[:500].decode("utf-8", "replace").strip()
        try:
            error = json.loads(answer.body)["error"]
            said = str(error["message"] if isinstance(error, dict) else error)
        except _UNREADABLE:
            pass
        return ServerError(
            f"{self.url} refuses the request: {said}", where=f"HTTP {answer.status}", fix=fix
        )


def without_logprobs(model: str) -> ServerError:
    """Return the error of a model that does not tell how sure it is."""
    return ServerError(
        f"{model!r} sent no log probabilities",
        fix="ask a server that gives them: models of the vLLM backend and the gateway in front of "
        "them, vLLM's own server, or another endpoint with OpenAI's logprobs",
    )


def _chat_steps(found: Mapping[str, Any]) -> tuple[Step, ...]:
    steps = []
    for row in found.get("content") or ():
        token = _token(row["token"])
        others = [(_token(one["token"]), float(one["logprob"])) for one in row["top_logprobs"]]
        text = bytes(row.get("bytes") or ()).decode("utf-8", "replace")
        text = text or ("" if isinstance(token, int) else token)
        steps.append(Step(token, text, float(row["logprob"]), ordered(token, others)))
    return tuple(steps)


def _completion_steps(found: Mapping[str, Any]) -> tuple[Step, ...]:
    steps = []
    lists = (found.get(name) or () for name in ("tokens", "token_logprobs", "top_logprobs"))
    for name, value, top in zip(*lists, strict=True):
        token = _token(name)
        others = [(_token(one), float(logprob)) for one, logprob in top.items()]
        text = "" if isinstance(token, int) else token
        steps.append(Step(token, text, float(value), ordered(token, others)))
    return tuple(steps)


def _token(text: str) -> Token:
    digits = text.removeprefix(_ID)
    return int(digits) if digits != text and digits.isdecimal() else text
