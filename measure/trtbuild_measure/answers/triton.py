"""A model of a Triton server, by its request schema."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from functools import cached_property
from typing import TYPE_CHECKING, Any

from trtbuild.client import AsyncLLMClient, Sampling, collect
from trtbuild.client.transport import Protocol
from trtbuild.errors import ServerError, UsageError
from trtbuild.pipeline.asking import Chat, described, open_chat, tokenizer_directory
from trtbuild.signature.requests import GenerateRequest
from trtbuild_measure.answers.model import TOP, Answer, Step, ordered
from trtbuild_measure.answers.openai import without_logprobs
from trtbuild_measure.answers.prompts import Prompt

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class TritonModel:
    """Asks one model of a server.

    Args:
        url: ``HOST:PORT`` of the protocol.
        model: The model's name.
        protocol: ``grpc`` or ``http``.
        timeout: Seconds for an answer.
    """

    def __init__(self, url: str, model: str, protocol: Protocol, *, timeout: float) -> None:
        self.model = model
        self._timeout = timeout
        self._client = AsyncLLMClient(url, protocol, described)

    async def open(self) -> None:
        """See :class:`~trtbuild_measure.answers.model.Model`."""
        served = await self._client.served(self.model)
        if not served.task.makes_text:
            raise UsageError(
                f"{self.model!r} generates no text: its task is {served.task}",
                fix="name a model that does: `trtbuild list` shows the tasks",
            )

    async def close(self) -> None:
        """See :class:`~trtbuild_measure.answers.model.Model`."""
        await self._client.close()

    async def ask(self, prompt: Prompt, *, logprobs: bool) -> Answer:
        """See :class:`~trtbuild_measure.answers.model.Model`."""
        text = self._text(prompt)
        sampling = Sampling(prompt.max_tokens, temperature=0, logprobs=TOP if logprobs else None)
        # Over HTTP a decoupled model that always streams has no whole answer.
        request = GenerateRequest(text, sampling, stream=self._client.protocol == "http")
        chunks = self._client.stream(self.model, request, timeout=self._timeout)
        async with aclosing(chunks):
            answer = collect([chunk async for chunk in chunks])
        steps = tuple(self._step(position) for position in answer.logprobs) if logprobs else ()
        if logprobs and not steps:
            raise without_logprobs(self.model)
        tokens = None
        if self._tokenizer is not None:
            special = not prompt.messages  # a chat template writes them itself
            tokens = tuple(self._tokenizer.encode(text, add_special_tokens=special).ids)
        return Answer(answer.text, steps, tokens, answer.input_tokens)

    def _text(self, prompt: Prompt) -> str:
        if prompt.prompt is not None:
            return prompt.prompt
        chat = Chat(self._chat.template, None, prompt.chat_template_kwargs)
        return chat.prompt(prompt.messages)

    def _step(self, position: Mapping[str, Any]) -> Step:
        try:
            (first, chosen), *_ = position.items()
            others = [(int(one), float(entry["logprob"])) for one, entry in position.items()]
            text = str(chosen.get("decoded_token") or "")
            return Step(int(first), text, float(chosen["logprob"]), ordered(int(first), others))
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
            raise ServerError(
                f"{self.model!r} sent log probabilities of another form: {error!r}",
                fix="compare the backend's version with that of the repository",
            ) from None

    @cached_property
    def _chat(self) -> Chat:
        return open_chat(self.model)

    @cached_property
    def _tokenizer(self) -> Tokenizer | None:
        """The tokenizer of the files on this machine."""
        folder = tokenizer_directory(self.model)
        path = folder / "tokenizer.json" if folder else None
        if path is None or not path.is_file():
            return None
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(path))
