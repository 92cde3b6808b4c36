"""A whole answer, and the text of a prompt."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from trtbuild.errors import UsageError
from trtbuild.signature.requests import Chunk


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. Times in seconds; ``ttft_ms`` in milliseconds, None without any text."""

    text: str
    finish_reason: str
    input_tokens: int | None
    output_tokens: int | None
    ttft_ms: float | None
    seconds: float
    chunks: int = field(default=0)
    logprobs: tuple[Any, ...] = ()
    prompt_logprobs: tuple[Any, ...] = ()

    @property
    def tokens_per_second(self) -> float | None:
        """Generated tokens per second of the whole time, None without the server's count."""
        if self.output_tokens is None or self.seconds <= 0:
            return None
        return self.output_tokens / self.seconds


def collect(chunks: Iterable[Chunk], on_text: Callable[[str], None] | None = None) -> Answer:
    """Read an answer to its end, and call ``on_text`` with each chunk of text."""
    start = time.perf_counter()
    texts: list[str] = []
    first: float | None = None
    reason, inputs, outputs = "", None, None
    logprobs: list[Any] = []
    of_prompt: tuple[Any, ...] = ()
    for chunk in chunks:
        if chunk.text:
            first = first if first is not None else time.perf_counter() - start
            texts.append(chunk.text)
            if on_text is not None:
                on_text(chunk.text)
        logprobs += chunk.logprobs
        of_prompt = chunk.prompt_logprobs or of_prompt
        reason = chunk.finish_reason or reason
        inputs = chunk.input_tokens if chunk.input_tokens is not None else inputs
        if chunk.output_tokens is not None:
            outputs = (outputs or 0) + chunk.output_tokens
    return Answer(
        text="".join(texts),
        finish_reason=reason,
        input_tokens=inputs,
        output_tokens=outputs,
        ttft_ms=None if first is None else first * 1000,
        seconds=time.perf_counter() - start,
        chunks=len(texts),
        logprobs=tuple(logprobs),
        prompt_logprobs=of_prompt,
    )


def prompt_text(prompt: str | bytes) -> str:
    """Return the prompt as text that UTF-8 can encode.

    Raises:
        UsageError: bytes that are not UTF-8, or text with lone surrogates, which is how Python
            shows such bytes of a command line.
    """
    try:
        text = prompt.decode("utf-8") if isinstance(prompt, bytes) else prompt
        text.encode("utf-8")
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        raise UsageError(
            f"the prompt is not valid UTF-8 at position {start}",
            fix="convert it first, for example: iconv -f latin1 -t utf-8 FILE | "
            "trtbuild infer NAME -p -",
        ) from None
    return text
