"""Answers in the form of Anthropic's ``/v1/messages``: whole, and as events of a stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from trtbuild_gateway.failures import ApiError

_encode = msgspec.json.Encoder().encode
_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_ERRORS = {
    401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error",
    504: "timeout_error",
}  # fmt: skip


# What Anthropic's answers always have, and no server here reports.
_UNKNOWN = (
    "cache_creation", "cache_creation_input_tokens", "cache_read_input_tokens", "inference_geo",
    "output_tokens_details", "server_tool_use", "service_tier",
)  # fmt: skip


def usage_of(prompt: int, completion: int) -> dict[str, Any]:
    """Return ``usage``."""
    return {**dict.fromkeys(_UNKNOWN), "input_tokens": prompt, "output_tokens": completion}


def message_of(
    id: str, model: str, content: list[dict[str, Any]], reason: str | None, usage: dict[str, Any]
) -> dict[str, Any]:
    """Return an answer; ``reason`` is None for one that begins."""
    head: dict[str, Any] = {"id": id, "type": "message", "role": "assistant", "model": model}
    return {**head, "content": content, **_ended(reason), "usage": usage}


def _ended(reason: str | None) -> dict[str, Any]:
    return {
        "stop_reason": reason,
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
    }


def stop_reason(reason: str) -> str:
    """Return Anthropic's word for OpenAI's reason."""
    return _REASONS.get(reason, "end_turn")


def error_body(error: ApiError) -> dict[str, Any]:
    """Return an error in Anthropic's form."""
    kind = _ERRORS.get(
        error.status, "api_error" if error.status >= 500 else "invalid_request_error"
    )
    return {"type": "error", "error": {"type": kind, "message": error.message}}


def content_of(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the blocks of an answer in OpenAI's form."""
    blocks: list[dict[str, Any]] = []
    if thought := message.get("reasoning"):
        blocks.append({"type": "thinking", "thinking": thought, "signature": ""})
    if text := message.get("content"):
        blocks.append({"type": "text", "text": text, "citations": None})
    for call in message.get("tool_calls", ()):
        function = call["function"]
        arguments = msgspec.json.decode(function["arguments"] or "{}")
        blocks.append(_tool_use(call["id"], function["name"], arguments))
    return blocks


def _tool_use(id: str, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    block = {"type": "tool_use", "id": id, "name": name, "input": arguments}
    return {**block, "caller": {"type": "direct"}}


class MessagesStream:
    """The events of one answer; a :class:`~trtbuild_gateway.encoding.chunks.Stream`."""

    done = b""

    def __init__(self, id: str, model: str, prompt_tokens: int) -> None:
        self._id = id
        self._model = model
        self._prompt_tokens = prompt_tokens
        self._block = -1
        self._open = ""
        self._reason = ""

    def role(self, index: int) -> bytes:  # noqa: ARG002 - there is one answer
        """Return the first event."""
        usage = usage_of(self._prompt_tokens, 0)
        return _event("message_start", message=message_of(self._id, self._model, [], None, usage))

    def text(self, index: int, text: str) -> bytes:  # noqa: ARG002
        """Return the events of new text."""
        start = self._opened("text", {"type": "text", "text": "", "citations": None})
        return start + self._delta({"type": "text_delta", "text": text})

    def texts(self, index: int, texts: Sequence[str]) -> bytes:
        """Return the events of several new texts, or of none."""
        return b"".join(self.text(index, text) for text in texts)

    def frame(self, index: int) -> None:
        """Return None: the first text of a block opens it."""

    def delta(
        self,
        index: int,
        delta: Mapping[str, Any],
        logprobs: Mapping[str, Any] | None,  # noqa: ARG002
    ) -> bytes:
        """Return the events of any change."""
        made = b""
        if thought := delta.get("reasoning"):
            block = {"type": "thinking", "thinking": "", "signature": ""}
            made += self._opened("thinking", block)
            made += self._delta({"type": "thinking_delta", "thinking": thought})
        if text := delta.get("content"):
            made += self.text(index, text)
        for call in delta.get("tool_calls", ()):
            function = call["function"]
            if "id" in call:
                block = _tool_use(call["id"], function["name"], {})
                made += self._opened(f"tool {call['index']}", block)
            if part := function.get("arguments"):
                made += self._delta({"type": "input_json_delta", "partial_json": part})
        return made

    def finish(self, index: int, reason: str) -> bytes:  # noqa: ARG002
        """Close the last block; the reason comes with the counts."""
        self._reason = stop_reason(reason)
        return self._closed()

    def usage(self, counts: Mapping[str, Any]) -> bytes:
        """Return the last events."""
        usage = usage_of(counts["prompt_tokens"], counts["completion_tokens"])
        return _event("message_delta", delta=_ended(self._reason), usage=usage) + _event(
            "message_stop"
        )

    def error(self, error: ApiError) -> bytes:
        """Return the event of an error."""
        return b"event: error\ndata: " + _encode(error_body(error)) + b"\n\n"

    def _opened(self, kind: str, block: Mapping[str, Any]) -> bytes:
        if self._open == kind:
            return b""
        before = self._closed()
        self._open = kind
        self._block += 1
        return before + _event("content_block_start", index=self._block, content_block=block)

    def _closed(self) -> bytes:
        if not self._open:
            return b""
        self._open = ""
        return _event("content_block_stop", index=self._block)

    def _delta(self, delta: Mapping[str, Any]) -> bytes:
        return _event("content_block_delta", index=self._block, delta=delta)


def _event(kind: str, **values: Any) -> bytes:
    return f"event: {kind}\ndata: ".encode() + _encode({"type": kind, **values}) + b"\n\n"
