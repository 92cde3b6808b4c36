"""Shared by the request schemas of LLMs: ``text_input`` in, ``text_output`` out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from trtbuild.errors import UsageError
from trtbuild.signature.dialects.base import (
    Dialect,
    Read,
    SchemaFacts,
    parameters,
    tensor,
    unable,
)
from trtbuild.signature.dialects.chunks import chunk
from trtbuild.signature.model import ServedModel
from trtbuild.signature.requests import GenerateRequest, TaskRequest
from trtbuild.wire.tensors import InferRequest, TensorValue

# How TensorRT-LLM 1.2.1 calls the kinds of guides (triton_backend, tensorrt_llm/config.pbtxt).
_GUIDES = {
    "json": "json_schema", "json_object": "json", "regex": "regex", "grammar": "ebnf_grammar",
    "structural_tag": "structural_tag",
}  # fmt: skip
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

    def shaped(self, request: GenerateRequest) -> Mapping[str, Mapping[str, Any]]:
        """Return the inputs of ``guide`` and ``adapter``, if they are given; empty ones if the
        schema has no such input."""
        found: dict[str, Mapping[str, Any]] = {}
        if request.guide is not None:
            kind, value = request.guide.kind, request.guide.value
            form = value if isinstance(value, str) else json.dumps(value)
            known = {"guided_decoding_guide_type": _GUIDES.get(kind), "guided_decoding_guide": form}
            found["guide"] = known if kind in _GUIDES else {}
        if request.adapter:
            found["adapter"] = {"lora_name": request.adapter}
        return found

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
        for inputs in self.shaped(request).values():
            values |= inputs
        if request.images:
            values["image"] = list(request.images)
            if model.input("image") is None:
                raise UsageError(
                    f"{model.name!r} takes no images", fix="leave the images out of the request"
                )
        asked = parameters(priority=request.priority or None)
        return (InferRequest(tuple(_tensors(model, values)), asked),)

    def reader(self, model: ServedModel) -> Read:
        """Return a reader; responses of most servers contain only new text."""
        return chunk

    def ignored(self, model: ServedModel, request: TaskRequest) -> tuple[str, ...]:
        """Return values for which the model has no input."""
        if not isinstance(request, GenerateRequest):
            return ()
        given = zip(request.sampling.given(), self.spelled(request), strict=True)
        ignored = [*request.sampling.more]
        ignored += [name for name, spelled in given if model.input(spelled) is None]
        for name, inputs in self.shaped(request).items():
            if not inputs or any(model.input(each) is None for each in inputs):
                ignored.append(name)
        return tuple(ignored)

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
