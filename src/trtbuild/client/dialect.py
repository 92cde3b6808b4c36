"""The input dialects of served LLMs, told apart by their tensors.

vLLM's backend takes all sampling values as one JSON text; TensorRT-LLM's LLM API model has a
tensor for each (``sampling_param_*``); its ensemble and BLS models use shorter names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trtbuild.client.metadata import ModelMetadata
from trtbuild.client.values import Chunk, Sampling
from trtbuild.signature import recognize

Kind = Literal["vllm", "trtllm-llmapi", "ensemble"]
Value = str | bool | int | float | list[str]

_RETURNS = ("finish_reason", "num_input_tokens", "num_output_tokens")
_ENSEMBLE = {"seed": "random_seed", "stop": "stop_words"}


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one model is asked and how its answers read."""

    kind: Kind
    stream_input: str
    cumulative: bool = False

    def inputs(
        self, metadata: ModelMetadata, prompt: str, sampling: Sampling, *, stream: bool
    ) -> dict[str, Value]:
        """Values by tensor name, only for tensors that the model has."""
        if self.kind == "trtllm-llmapi" and metadata.decoupled is False:
            stream = False  # it refuses to stream where only one response can be sent
        values: dict[str, Value] = {"text_input": prompt, self.stream_input: stream}
        values["exclude_input_in_output"] = True
        values.update({f"return_{name}": True for name in _RETURNS})
        values["return_logprobs"] = sampling.wants_logprobs
        given = sampling.given()
        if self.kind == "vllm":
            values["sampling_parameters"] = json.dumps(given)
        elif self.kind == "trtllm-llmapi":
            values.update({f"sampling_param_{name}": value for name, value in given.items()})
        else:
            values.update({_ENSEMBLE.get(name, name): value for name, value in given.items()})
        return {name: value for name, value in values.items() if metadata.input(name)}

    def chunk(self, outputs: Mapping[str, object], so_far: str) -> Chunk:
        """What a response adds to ``so_far``; ``outputs`` holds the first element of each."""
        text = str(outputs.get("text_output", ""))
        if self.cumulative and so_far and text.startswith(so_far):
            text = text[len(so_far) :]
        reason = str(outputs.get("finish_reason", "") or "")
        # The prompt's come behind those of the answer.
        found = outputs.get("logprobs")
        logprobs = found if isinstance(found, list) else [found]
        return Chunk(
            text=text,
            finish_reason="" if reason == "None" else reason,
            output_tokens=_count(outputs.get("num_output_tokens")),
            input_tokens=_count(outputs.get("num_input_tokens")),
            logprobs=_positions(logprobs[0]),
            prompt_logprobs=_positions(logprobs[-1]) if len(logprobs) > 1 else (),
        )


def _positions(value: object) -> tuple[Any, ...]:
    """Log probabilities by token, from the JSON text of an output."""
    if not isinstance(value, str):
        return ()
    try:
        found = json.loads(value)
    except ValueError:
        return ()
    return tuple(found) if isinstance(found, list) else ()


def _count(value: object) -> int | None:
    return int(value) if isinstance(value, int | float | str) and value != "" else None


def detect_dialect(metadata: ModelMetadata) -> Dialect | None:
    """The dialect of a model, or None when it is not an LLM that takes text."""
    inputs, outputs = ([row.name for row in rows] for rows in (metadata.inputs, metadata.outputs))
    _, schema = recognize(inputs, outputs)
    if schema == "vllm":
        return Dialect("vllm", "stream")
    if schema == "llmapi":
        # Upstream's LLM API model repeats the whole text in every response; ours, which counts
        # tokens too, does not.
        ours = metadata.has_output("num_output_tokens")
        return Dialect("trtllm-llmapi", "streaming", cumulative=not ours)
    if schema == "ensemble":
        return Dialect("ensemble", "stream")
    return None
