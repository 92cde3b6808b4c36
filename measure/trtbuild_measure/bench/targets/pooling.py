"""A model behind Triton that generates no text: vectors, scores, labels."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from trtbuild.client.failures import LateError, NoAnswerError
from trtbuild.client.transport import Protocol, Transport
from trtbuild.errors import TrtbuildError
from trtbuild.signature import ServedModel, ServedTask
from trtbuild.signature.dialects import Dialect
from trtbuild.signature.requests import (
    ClassifyRequest,
    EmbedRequest,
    ImageClassifyRequest,
    RerankRequest,
    ScoreRequest,
    TaskRequest,
    TokenClassifyRequest,
    TranscribeRequest,
)
from trtbuild.wire.tensors import InferRequest, Outputs
from trtbuild_measure.bench.model import Prompt, Stream

_COUNTS = ("token_count", "num_input_tokens")


class PoolingModel:
    """A served model with its request schema, over one protocol.

    A request has all texts of its prompt. Its latency ends with the last byte of the answer:
    reading the numbers is the client's own work.
    """

    def __init__(
        self, served: ServedModel, dialect: Dialect, url: str, protocol: Protocol, timeout: float
    ) -> None:
        self._served = served
        self._dialect = dialect
        self._timeout = timeout
        self._transport = Transport(url, protocol)

    async def ask(self, stream: Stream) -> None:
        """Send the texts and fill ``stream``; never raises for a failed request."""
        texts = stream.prompt.texts or (stream.prompt.text,)
        try:
            request = self.request(stream.prompt)
            parts = self._dialect.requests(self._served, request)
            stream.started = time.perf_counter()
            responses = await asyncio.gather(*map(self._infer, parts))
            stream.ended = time.perf_counter()
            stream.input_tokens = _counts(responses) or None
            stream.sequences = len(texts)
            if not self._complete(parts, responses):
                stream.fail(stream.ended, "malformed", "an answer has fewer rows than the request")
        except TrtbuildError as error:
            stream.fail(time.perf_counter(), _kind(error), error.what)

    def request(self, prompt: Prompt) -> TaskRequest:
        """Return the request for the texts of a prompt; of a model of images or recordings, samples
        as often."""
        texts = prompt.texts or (prompt.text,)
        if self._served.task in _MAKERS:
            return _MAKERS[self._served.task](texts)
        example = self._dialect.example(self._served)
        if isinstance(example, ImageClassifyRequest):
            return replace(example, images=example.images * len(texts))
        if isinstance(example, TranscribeRequest):
            return replace(example, audio=example.audio * len(texts))
        if isinstance(example, ScoreRequest):
            pairs = isinstance(example.inputs[0], tuple)
            return ScoreRequest(tuple((text, text) for text in texts) if pairs else texts)
        return example

    def _complete(self, parts: Sequence[InferRequest], responses: Sequence[Outputs]) -> bool:
        """Whether each output has a row for each of the request's."""
        if not self._served.max_batch_size:
            return True
        pairs = zip(parts, responses, strict=True)
        return all(
            outputs and {one.shape[0] for one in outputs.values()} == {asked.inputs[0].shape[0]}
            for asked, outputs in pairs
        )

    async def _infer(self, request: InferRequest) -> Outputs:
        return await self._transport.infer(
            self._served.name, request, self._timeout, decoupled=self._served.decoupled
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()


_MAKERS: Mapping[ServedTask, Callable[[tuple[str, ...]], TaskRequest]] = {
    **dict.fromkeys((one for one in ServedTask if one.makes_vectors), EmbedRequest),
    ServedTask.RERANK: lambda texts: RerankRequest(texts[0], texts),
    ServedTask.CLASSIFY: ClassifyRequest,
    ServedTask.TOKEN_CLASSIFY: TokenClassifyRequest,
}


def _counts(responses: Sequence[Outputs]) -> int:
    """Return the tokens of all responses; 0 if they do not say."""
    found = [outputs[name] for outputs in responses for name in _COUNTS if name in outputs]
    return sum(int(number) for one in found for number in one.data)


def _kind(error: TrtbuildError) -> str:
    if isinstance(error, LateError):
        return "timeout"
    return "refused" if isinstance(error, NoAnswerError) else "server error"
