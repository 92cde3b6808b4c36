"""vLLM's backend: all sampling values in one JSON text, an embedding request in another.

Source: triton-inference-server/vllm_backend, src/model.py and src/utils/request.py, r26.01.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from trtbuild.errors import UsageError
from trtbuild.modelspec import Vision
from trtbuild.signature.dialects.base import (
    SchemaFacts,
    count,
    misfit,
    require_some,
    tensor,
    unable,
)
from trtbuild.signature.model import ServedModel, ServedTask
from trtbuild.signature.requests import (
    EmbedAnswer,
    EmbedRequest,
    GenerateRequest,
    TaskAnswer,
    TaskRequest,
)
from trtbuild.signature.vectors import require_type, typed
from trtbuild.wire.tensors import InferRequest, Outputs
from trtbuild_dialects.generating import Generating

_SAMPLING = "sampling_parameters"
_EMBEDDING = "embedding_request"
_COUNTED = "return_num_input_tokens"


class Vllm(Generating):
    """Generated text, and vectors of one text per request."""

    name = "vllm"
    priority = 40

    def recognize(self, facts: SchemaFacts) -> ServedTask | None:
        """Recognize a model; the backend completes a configuration, so it may have no tensors."""
        if _EMBEDDING in facts.inputs and "text_input" not in facts.inputs:
            return ServedTask.EMBED if "text_output" in facts.outputs else None
        if facts.backend != "vllm" and not (self.takes_text(facts) and _SAMPLING in facts.inputs):
            return None
        embeds = facts.pooling and (not facts.inputs or _EMBEDDING in facts.inputs)
        return ServedTask.EMBED if embeds else ServedTask.GENERATE

    def spelled(self, request: GenerateRequest) -> Mapping[str, Any]:
        """Return all sampling values in one input."""
        values: dict[str, Any] = {**request.sampling.more, **request.sampling.given()}
        if request.guide is not None:
            form = True if request.guide.kind == "json_object" else request.guide.value
            # Text, as NVIDIA's backend reads it; ours takes an object, too.
            values["structured_outputs"] = json.dumps({request.guide.kind: form})
        if request.adapter:
            values["lora_name"] = request.adapter
        return {_SAMPLING: json.dumps(values)}

    def shaped(self, request: GenerateRequest) -> Mapping[str, Mapping[str, Any]]:
        """Return nothing: guide and adapter are sampling values."""
        return {}

    def ignored(self, model: ServedModel, request: TaskRequest) -> tuple[str, ...]:
        """Return nothing: the engine accepts or rejects each value."""
        return ()

    def requests(self, model: ServedModel, request: TaskRequest) -> Sequence[InferRequest]:
        """Return a request to generate text, or one for each text to embed."""
        if not isinstance(request, EmbedRequest):
            if model.task is ServedTask.EMBED:
                raise unable(model, request)
            return super().requests(model, request)
        if model.input(_EMBEDDING) is None:
            raise unable(model, request)
        require_some(request.inputs)
        if request.truncate not in ("", "none"):
            raise UsageError(
                f"{model.name!r} cannot truncate: vLLM's backend refuses a text that is too long",
                fix="send shorter texts, or leave truncate out",
            )
        require_type(request.embedding_type)
        prompt = _prompt(model, request)
        return [_embedding(model, item, prompt, request.dimensions) for item in request.inputs]

    def answer(
        self, model: ServedModel, request: TaskRequest, responses: Sequence[Outputs]
    ) -> TaskAnswer:
        """Return the vectors, which the backend sends as JSON text."""
        if not isinstance(request, EmbedRequest):
            raise unable(model, request)
        kind = request.embedding_type  # the backend sends floats
        vectors = tuple(typed(_vector(model, outputs), kind) for outputs in responses)
        counts = [_tokens(outputs) for outputs in responses]
        known = tuple(number for number in counts if number is not None)
        return EmbedAnswer(vectors, known if len(known) == len(counts) else ())

    def client_of(self, model: ServedModel) -> str:
        """Return client code for text or for vectors."""
        return "embed" if model.task is ServedTask.EMBED else "vllm"

    def client_values(self, model: ServedModel) -> Mapping[str, Any]:
        """Return what a client of a vision-language model writes for an image."""
        vision = model.vision or Vision()
        return {
            **super().client_values(model),
            "placeholder": "" if "{i}" in vision.placeholder else vision.placeholder,
            "after": vision.after,
            "example": next((task.prompt for task in vision.tasks.values()), "What is this?"),
            "sampling": {"max_tokens": 64, "temperature": 0, **vision.sampling},
        }


def _prompt(model: ServedModel, request: EmbedRequest) -> str:
    prompts = model.head.prompts if model.head else {}
    if request.prompt_name and request.prompt_name not in prompts:
        raise UsageError(
            f"{model.name!r} has no prompt {request.prompt_name!r}",
            fix=f"use one of {', '.join(prompts)}" if prompts else "leave the prompt's name out",
        )
    return model.head.prompt(request.prompt_name or request.input_type) if model.head else ""


def _embedding(
    model: ServedModel, item: str | tuple[int, ...], prompt: str, dimensions: int | None
) -> InferRequest:
    body: dict[str, Any] = {"input": prompt + item if isinstance(item, str) else list(item)}
    if dimensions is not None:
        body["pooling_params"] = {"dimensions": [dimensions]}  # a list: the backend reads element 0
    values = {"text_input": "", _EMBEDDING: json.dumps(body), _COUNTED: True}
    return InferRequest(
        tuple(tensor(model, name, [value]) for name, value in values.items() if model.input(name))
    )


def _vector(model: ServedModel, outputs: Outputs) -> tuple[float, ...]:
    found = outputs.get("text_output")
    try:
        vector = tuple(map(float, json.loads(found.data[0]))) if found else ()
    except (ValueError, LookupError, TypeError, RecursionError, OverflowError):
        vector = ()
    if not vector:
        raise misfit(model, "'text_output' is not the JSON text of a vector")
    return vector


def _tokens(outputs: Outputs) -> int | None:
    found = outputs.get("num_input_tokens")
    return count(found.data[0]) if found and len(found.data) else None


dialect = Vllm()
