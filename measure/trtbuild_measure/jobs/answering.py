"""What the commands about answers share: the target, and asking it."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from trtbuild.client.transport import Protocol
from trtbuild.errors import ServerError, UsageError
from trtbuild.pipeline.condition import explained_death
from trtbuild.progress import SILENT, Progress
from trtbuild.server_records import find_server
from trtbuild.wire.blocking import run
from trtbuild_measure.answers.model import Answer, Model
from trtbuild_measure.answers.options import TARGETS, AskOptions
from trtbuild_measure.answers.prompts import Prompt
from trtbuild_measure.bench.targets.address import Address, parse_target
from trtbuild_measure.several import several

_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks a target.

    Attributes:
        address: The target.
        options: How.
        progress: Shown while asking.
    """

    address: Address
    options: AskOptions
    progress: Progress = SILENT

    def ask(
        self,
        prompts: Sequence[Prompt],
        *,
        logprobs: bool = False,
        concurrency: int | None = None,
    ) -> list[Answer]:
        """Return the answers in the prompts' order.

        Args:
            prompts: What to ask, each with the length of its answer.
            logprobs: Ask for the log probabilities of the tokens.
            concurrency: Instead of that of the options.

        Raises:
            ServerError: The target does not answer.
            UsageError: The model does not do what is asked.
        """
        together = self.options.concurrency if concurrency is None else concurrency

        async def asked(model: Model) -> list[Answer]:
            ask = partial(model.ask, logprobs=logprobs)
            return await several(prompts, ask, together, self.progress)

        return self._with_model(asked)

    def _with_model(self, work: Callable[[Model], Awaitable[_Made]]) -> _Made:
        async def whole() -> _Made:
            model = self._model()
            try:
                await model.open()
                return await work(model)
            finally:
                await model.close()

        try:
            return run(whole())
        except ServerError as error:
            if self.address.kind == "openai":
                raise
            raise explained_death(error, self.address.model, self.address.url) from None

    def _model(self) -> Model:
        address, timeout = self.address, self.options.timeout
        if address.kind == "openai":
            from trtbuild_measure.answers.openai import OpenAIModel

            key = os.environ.get(self.options.api_key_env, "")
            return OpenAIModel(address.url, address.model, timeout=timeout, api_key=key)
        from trtbuild_measure.answers.triton import TritonModel

        protocol: Protocol = "grpc" if address.kind == "triton-grpc" else "http"
        return TritonModel(address.url, address.model, protocol, timeout=timeout)


def asker_for(options: AskOptions, progress: Progress = SILENT) -> Asker:
    """Return what asks the options' target.

    Raises:
        UsageError: It is not a target, no running server has the model, or the variable with the
            API key is not set.
    """
    if options.api_key_env and not os.environ.get(options.api_key_env):
        raise UsageError(
            f"the variable {options.api_key_env} is not set",
            where="--api-key-env",
            fix="export it first",
        )
    return Asker(_address(options.target, options.model), options, progress)


def _address(text: str, model: str) -> Address:
    if text and not set("/:") & set(text):
        server = find_server(text)
        if server is None:
            raise UsageError(
                f"no running server has the model {text!r}",
                where="--target",
                fix=f"start one with `trtbuild serve`, or write {TARGETS}",
            )
        return Address(text, "triton-grpc", server.url("grpc"), text, text)
    if text.startswith("http") and not model:
        raise UsageError(
            "which model of this endpoint is asked?", where="--target", fix="name it with --model"
        )
    address = parse_target(f"openai:{text}#{model}" if text.startswith("http") else text)
    if address.kind == "baseline":
        raise UsageError("a baseline is not a target", where="--target", fix=f"write {TARGETS}")
    return address


def pattern_of(option: str, text: str) -> re.Pattern[str] | None:
    """Return a regular expression that ignores case; None for an empty text.

    Raises:
        UsageError: It is none.
    """
    try:
        return re.compile(text, re.IGNORECASE) if text else None
    except re.error as error:
        raise UsageError(
            f"{option} is not a regular expression: {error}",
            where=text,
            fix="put a backslash before characters that are meant as they are",
        ) from None
