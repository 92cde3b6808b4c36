"""Triton's form of a model, as the gateway reads it from any server.

The tensors are those of vLLM's Triton backend, and for reranking of NVIDIA's NIM, so that the
gateway's request schemas for them fit. Sources: triton-inference-server/vllm_backend, src/model.py
and src/utils/request.py, r26.01; NVIDIA NeMo Retriever text reranking NIM, gRPC reference.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from trtbuild_backends.backend import (
    Delta,
    Embedding,
    EmbedRequest,
    GenerateRequest,
    ModelFacts,
    RequestError,
    ScoreRequest,
    Scores,
)

VERSION = "1"
_MANY = frozenset((
    "image", "query", "passage", "score", "token_count", "text", "text_pair", "scores", "label",
))  # fmt: skip
_Spec = tuple[str, str]

_GENERATE: Sequence[_Spec] = (("text_input", "BYTES"), ("sampling_parameters", "BYTES"))
_EMBED: Sequence[_Spec] = (("embedding_request", "BYTES"),)
_RERANK: Sequence[_Spec] = (("query", "BYTES"), ("passage", "BYTES"))
_SCORES: Sequence[_Spec] = (("score", "FP32"), ("token_count", "INT32"))
_CLASSIFY: Sequence[_Spec] = (("text", "BYTES"), ("text_pair", "BYTES"))
_CLASSES: Sequence[_Spec] = (("scores", "FP32"), ("label", "BYTES"), ("token_count", "INT32"))
_AUDIO: Sequence[_Spec] = (("audio", "BYTES"),)
_TEXT: Sequence[_Spec] = (("text", "BYTES"), ("language", "BYTES"), ("token_count", "INT32"))
_TIMES: Sequence[_Spec] = (("duration", "FP32"), ("segments", "BYTES"))
_COUNTS: Sequence[_Spec] = (("num_input_tokens", "UINT32"), ("num_output_tokens", "UINT32"))
_ANSWER: Sequence[_Spec] = (("finish_reason", "BYTES"), ("logprobs", "BYTES"))
_OPTIONS: Sequence[_Spec] = (
    ("stream", "BOOL"),
    ("exclude_input_in_output", "BOOL"),
    ("return_finish_reason", "BOOL"),
    ("return_num_input_tokens", "BOOL"),
    ("return_num_output_tokens", "BOOL"),
    ("return_logprobs", "BOOL"),
)


def metadata(name: str, facts: ModelFacts) -> Mapping[str, Any]:
    """Return the answer to ``/v2/models/NAME``."""
    inputs, outputs = _specs(facts)
    return {
        "name": name,
        "versions": [VERSION],
        "platform": "trtbuild",
        "inputs": _described(inputs),
        "outputs": _described(outputs),
    }


def config(name: str, facts: ModelFacts) -> Mapping[str, Any]:
    """Return the answer to ``/v2/models/NAME/config``."""
    inputs, outputs = _specs(facts)
    needed = {"text_input", "embedding_request", "query", "passage", "text", "audio"}
    parameters = {"context_length": str(facts.context_length)}
    if facts.labels:
        parameters["labels"] = json.dumps(list(facts.labels))
    if facts.boxes:
        parameters["boxes"] = facts.boxes
    return {
        "name": name,
        "backend": "trtbuild",
        "max_batch_size": 0,
        "input": [
            {"name": each, "dims": [1], "optional": each not in needed} for each, _ in inputs
        ],
        "output": [{"name": each, "dims": [-1]} for each, _ in outputs],
        "model_transaction_policy": {"decoupled": True},
        "parameters": {key: {"string_value": value} for key, value in parameters.items()},
    }


def generate_request(body: Mapping[str, Any]) -> GenerateRequest:
    """Return the request in a body of ``generate_stream``.

    Raises:
        RequestError: It is none.
    """
    prompt = body.get("text_input")
    if not isinstance(prompt, str):
        raise RequestError("text_input is missing, or no text")
    images = body.get("image") or []
    return GenerateRequest(
        prompt,
        _object(body.get("sampling_parameters", "{}"), "sampling_parameters"),
        [images] if isinstance(images, str) else list(images),
    )


def embed_request(body: Mapping[str, Any]) -> EmbedRequest:
    """Return the request for a vector; RequestError if it is none."""
    asked = _object(body.get("embedding_request"), "embedding_request")
    given: Any = asked.get("input")
    ids = isinstance(given, list) and all(isinstance(one, int) for one in given)
    if not (isinstance(given, str) or ids):
        raise RequestError("the input of embedding_request is neither a text nor token ids")
    dimensions = (asked.get("pooling_params") or {}).get("dimensions")
    only: Any = dimensions[0] if isinstance(dimensions, list) and dimensions else dimensions
    return EmbedRequest(given, only)


def score_request(body: Mapping[str, Any]) -> ScoreRequest:
    """Return the pairs to score; RequestError if there are none."""
    columns = [
        given if isinstance(given, list) else [given]
        for given in (body.get("query"), body.get("passage"))
    ]
    if len(columns[0]) != len(columns[1]) or not all(
        isinstance(t, str) for c in columns for t in c
    ):
        raise RequestError("query and passage have different numbers of texts")
    return ScoreRequest(list(zip(*columns, strict=True)))


def scores(name: str, found: Scores) -> Mapping[str, Any]:
    """Return scores as an event."""
    event: dict[str, Any] = {"model_name": name, "model_version": VERSION}
    event["score"] = list(found.scores)
    return event | {"token_count": list(found.tokens)} if found.tokens else event


def piece(name: str, delta: Delta, *, prompt_tokens: bool) -> Mapping[str, Any]:
    """Return a piece of an answer as an event; the prompt's count is sent once."""
    event: dict[str, Any] = {
        "model_name": name,
        "model_version": VERSION,
        "text_output": delta.text,
        "finish_reason": delta.finish_reason,
    }
    if delta.tokens is not None:
        event["num_output_tokens"] = delta.tokens
    if prompt_tokens and delta.prompt_tokens is not None:
        event["num_input_tokens"] = delta.prompt_tokens
    if delta.logprobs:
        event["logprobs"] = list(delta.logprobs)
    return event


def vector(name: str, found: Embedding) -> Mapping[str, Any]:
    """Return a vector as an event."""
    event: dict[str, Any] = {
        "model_name": name,
        "model_version": VERSION,
        "text_output": json.dumps(list(found.vector)),
    }
    return event if found.tokens is None else event | {"num_input_tokens": found.tokens}


def _specs(facts: ModelFacts) -> tuple[Sequence[_Spec], Sequence[_Spec]]:
    if facts.task == "rerank":
        return _RERANK, _SCORES
    if facts.task == "classify":
        return _CLASSIFY, _CLASSES
    if facts.task == "transcribe":
        return _AUDIO, (*_TEXT, *(_TIMES if facts.timestamps else ()))
    if facts.task == "embed":
        counted = (("return_num_input_tokens", "BOOL"),)
        return (*_EMBED, *counted), (("text_output", "BYTES"), _COUNTS[0])
    images = (("image", "BYTES"),) if facts.images else ()
    return (*_GENERATE, *_OPTIONS, *images), (("text_output", "BYTES"), *_ANSWER, *_COUNTS)


def _described(specs: Sequence[_Spec]) -> list[Mapping[str, Any]]:
    return [
        {"name": name, "datatype": kind, "shape": [-1 if name in _MANY else 1]}
        for name, kind in specs
    ]


def _object(text: Any, name: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise RequestError(f"{name} is not the JSON text of an object")
    return value
