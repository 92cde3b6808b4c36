"""Answers in the form of Anthropic's ``/v1/messages``: whole, and as events of a stream."""

from __future__ import annotations

from collections.abc import Mapping
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
        blocks.append({"type": "text", "text": text})
    for call in message.get("tool_calls", ()):
        function = call["function"]
        arguments = msgspec.json.decode(function["arguments"] or "{}")
        blocks.append(
            {"type": "tool_use", "id": call["id"], "name": function["name"], "input": arguments}
        )
    return blocks


class MessagesStream:
    """The events of one answer; a :class:`~trtbuild_gateway.encoding.chunks.Stream`."""

    done = b""

    def __init__(self, id: str, model: str, prompt_tokens: int) -> None:
        self._head = {"id": id, "type": "message", "role": "assistant", "model": model}
        self._prompt_tokens = prompt_tokens
        self._block = -1
        self._open = ""
        self._reason = ""

    def role(self, index: int) -> bytes:  # noqa: ARG002 - there is one answer
        """Return the first event."""
        usage = {"input_tokens": self._prompt_tokens, "output_tokens": 0}
        more: dict[str, Any] = {
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        return _event("message_start", message={**self._head, **more})

    def text(self, index: int, text: str) -> bytes:  # noqa: ARG002
        """Return the events of new text."""
        start = self._opened("text", {"type": "text", "text": ""})
        return start + self._delta({"type": "text_delta", "text": text})

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
                block = {"type": "tool_use", "id": call["id"], "name": function["name"]}
                made += self._opened(f"tool {call['index']}", {**block, "input": {}})
            if part := function.get("arguments"):
                made += self._delta({"type": "input_json_delta", "partial_json": part})
        return made

    def finish(self, index: int, reason: str) -> bytes:  # noqa: ARG002
        """Close the last block; the reason comes with the counts."""
        self._reason = stop_reason(reason)
        return self._closed()

    def usage(self, counts: Mapping[str, Any]) -> bytes:
        """Return the last events."""
        usage = {
            "input_tokens": counts["prompt_tokens"],
            "output_tokens": counts["completion_tokens"],
        }
        delta = {"stop_reason": self._reason, "stop_sequence": None}
        return _event("message_delta", delta=delta, usage=usage) + _event("message_stop")

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
