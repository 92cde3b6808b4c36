"""Shared by the request schemas of LLMs: ``text_input`` in, ``text_output`` out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from trtbuild.errors import UsageError
from trtbuild.signature.dialects.base import Dialect, Read, SchemaFacts, count, tensor, text, unable
from trtbuild.signature.model import ServedModel
from trtbuild.signature.requests import Chunk, GenerateRequest, TaskRequest
from trtbuild.wire.tensors import InferRequest, Outputs, TensorValue

_RETURNS = ("finish_reason", "num_input_tokens", "num_output_tokens")


class Generating(Dialect):
    """A request schema of LLMs; a subclass names the sampling inputs.

    Attributes:
        stream_input: The input that requests a stream.
    """

    stream_input = "stream"
    required = (("text_input",), ("text_output",))

    def takes_text(self, facts: SchemaFacts) -> bool:
        """Whether a model has text input and output."""
        inputs, outputs = self.required
        return facts.inputs.issuperset(inputs) and facts.outputs.issuperset(outputs)

    def spelled(self, request: GenerateRequest) -> Mapping[str, Any]:
        """Return the sampling values by the names of their inputs."""
        raise NotImplementedError

    def may_stream(self, model: ServedModel) -> bool:
        """Whether a request may ask for a stream."""
        return True

    def requests(self, model: ServedModel, request: TaskRequest) -> Sequence[InferRequest]:
        """Return one request with the values for which the model has inputs."""
        if not isinstance(request, GenerateRequest):
            raise unable(model, request)
        values: dict[str, Any] = {
            "text_input": request.prompt,
            self.stream_input: request.stream and self.may_stream(model),
            "exclude_input_in_output": True,
            **{f"return_{name}": True for name in _RETURNS},
            "return_logprobs": request.sampling.wants_logprobs,
            **self.spelled(request),
        }
        if request.images:
            values["image"] = list(request.images)
            if model.input("image") is None:
                raise UsageError(
                    f"{model.name!r} takes no images", fix="leave the images out of the request"
                )
        return (InferRequest(tuple(_tensors(model, values))),)

    def reader(self, model: ServedModel) -> Read:
        """Return a reader; responses of most servers contain only new text."""
        return chunk

    def ignored(self, model: ServedModel, request: TaskRequest) -> tuple[str, ...]:
        """Return values for which the model has no input."""
        if not isinstance(request, GenerateRequest):
            return ()
        given = zip(request.sampling.given(), self.spelled(request), strict=True)
        return tuple(name for name, spelled in given if model.input(spelled) is None)

    def client_of(self, model: ServedModel) -> str:
        """Return client code with an input for each sampling value."""
        return "trtllm"

    def client_values(self, model: ServedModel) -> Mapping[str, str]:
        """Return the names of its inputs."""
        return {"stream": self.stream_input, "prefix": ""}


def _tensors(model: ServedModel, values: Mapping[str, Any]) -> list[TensorValue]:
    return [
        tensor(model, name, value if isinstance(value, list) else [value])
        for name, value in values.items()
        if model.input(name)
    ]


def chunk(outputs: Outputs) -> Chunk:
    """Return one response as a chunk."""
    get = outputs.get
    reason = text(_first(get("finish_reason")) or "")
    # Those of the prompt come after those of the answer.
    found = get("logprobs")
    logprobs = [_positions(element) for element in found.data[:2]] if found is not None else ()
    return Chunk(
        text(_first(get("text_output")) or ""),
        "" if reason == "None" else reason,
        count(_first(get("num_output_tokens"))),
        count(_first(get("num_input_tokens"))),
        *logprobs,
    )


def _first(value: TensorValue | None) -> Any:
    return value.data[0] if value is not None and len(value.data) else None


def _positions(element: Any) -> tuple[Any, ...]:
    """Return log probabilities by token, from the JSON text of an output."""
    if not isinstance(element, (str, bytes)):
        return ()
    try:
        listed = json.loads(element)
    except (ValueError, RecursionError):
        return ()
    return tuple(listed) if isinstance(listed, list) else ()
