"""Responses of LLMs as chunks."""

from __future__ import annotations

import json
from typing import Any

from trtbuild.signature.dialects.base import count, text
from trtbuild.signature.requests import Chunk
from trtbuild.wire.tensors import Outputs, TensorValue

_OF_A_CHUNK = ("text_output", "finish_reason", "num_output_tokens", "num_input_tokens")


def chunk(outputs: Outputs) -> Chunk:
    """Return one response as a chunk."""
    # One call per token of each stream: an output that is not there must cost nothing.
    get = outputs.get
    piece, reason, told, asked = map(get, _OF_A_CHUNK)
    ended = text(_first(reason) or "") if reason is not None else ""
    # Those of the prompt come after those of the answer.
    found = get("logprobs")
    return Chunk(
        text(_first(piece) or ""),
        "" if ended == "None" else ended,
        count(_first(told)) if told is not None else None,
        count(_first(asked)) if asked is not None else None,
        *([_positions(element) for element in found.data[:2]] if found is not None else ()),
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
