"""What both protocols of Triton share: the model's dialect, and how its answers are read."""

from __future__ import annotations

from typing import Any

from trtbuild.bench.model import Generation, Prompt, Stream
from trtbuild.bench.targets.streaming import unreachable
from trtbuild.client import LLMClient, ModelMetadata, Sampling, detect_dialect
from trtbuild.client.dialect import Dialect, Value
from trtbuild.client.failures import LateError, NoAnswerError, not_an_llm


class TritonModel:
    """A served model; its tensors say which of the three dialects it speaks.

    Raises:
        ServerError: No server, no such model, no text.
    """

    def __init__(self, url: str, model: str, protocol: str, generation: Generation) -> None:
        try:
            with LLMClient(url, "grpc" if protocol == "grpc" else "http") as client:
                self.metadata: ModelMetadata = client.metadata(model)
        except NoAnswerError as error:
            raise unreachable(url, error.where) from None
        except LateError as error:  # whose mends are for somebody who asked a question
            raise unreachable(url, error.what) from None
        dialect = detect_dialect(self.metadata)
        if dialect is None:
            raise not_an_llm(model)
        self.dialect: Dialect = dialect
        self._generation = generation

    def ignored(self) -> tuple[str, ...]:
        """Sampling values that no tensor of the model takes."""
        if self.dialect.kind == "vllm":
            return ()
        wanted: dict[str, tuple[str, ...]] = {"temperature": ("temperature",)}
        if self._generation.seed is not None:
            wanted["seed"] = ("seed", "random_seed")
        taken = {tensor.name.removeprefix("sampling_param_") for tensor in self.metadata.inputs}
        return tuple(name for name, names in wanted.items() if not taken.intersection(names))

    def inputs(self, prompt: Prompt) -> dict[str, Value]:
        """Values by tensor."""
        generation = self._generation
        sampling = Sampling(
            max_tokens=prompt.max_tokens,
            temperature=generation.temperature,
            seed=generation.seed,
            ignore_eos=generation.forced,
        )
        return self.dialect.inputs(self.metadata, prompt.text, sampling, stream=True)


class Reader:
    """Turns the responses to one request into pieces."""

    def __init__(self, model: TritonModel, stream: Stream) -> None:
        self._dialect = model.dialect
        self._stream = stream
        self._so_far = ""

    def response(self, now: float, outputs: dict[str, Any]) -> None:
        """One response: the first element of each output by name."""
        chunk = self._dialect.chunk(outputs, self._so_far)
        stream = self._stream
        if self._dialect.cumulative:
            self._so_far += chunk.text
        stream.piece(now, chunk.text, chunk.output_tokens)
        if chunk.output_tokens is not None:
            stream.output_tokens = (stream.output_tokens or 0) + chunk.output_tokens
        stream.input_tokens = chunk.input_tokens or stream.input_tokens
        stream.finish_reason = chunk.finish_reason or stream.finish_reason
