"""Answers in the form of OpenAI's ``/v1/responses``: events of a stream, and what they amount to.

A whole answer is built from the same steps as a stream, so that both hold the same items.
Source: openai-python 3.57.0, types/responses; the Open Responses description of 2026-04-24.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from trtbuild_gateway.encoding.chunks import DONE
from trtbuild_gateway.failures import ApiError

_encode = msgspec.json.Encoder().encode
_TEXT = "response.output_text.delta"
_PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc"}


class ResponsesStream:
    """One answer; a :class:`~trtbuild_gateway.encoding.chunks.Stream`.

    Args:
        id: The call's.
        head: What the answer repeats of its request.
        count: Returns the number of tokens of a text.
    """

    done = DONE

    def __init__(self, id: str, head: Mapping[str, Any], count: Callable[[str], int]) -> None:
        self._id = id
        self._head = {"id": f"resp_{id}", "object": "response", "created_at": int(time.time())}
        self._head |= head
        self._count = count
        self._number = 0
        self._items: list[dict[str, Any]] = []
        self._texts: list[str] = []  # of the open item
        self._logprobs: list[Any] = []
        self._open: dict[str, Any] | None = None
        self._reason = ""
        self._start = b""
        self._result: dict[str, Any] = {}

    @property
    def result(self) -> Mapping[str, Any]:
        """The whole answer, once ``usage`` has been called."""
        return self._result

    def role(self, index: int) -> bytes:  # noqa: ARG002 - there is one answer
        """Return the first events."""
        begun = self._response("in_progress")
        return self._event("response.created", response=begun) + self._event(
            "response.in_progress", response=begun
        )

    def text(self, index: int, text: str) -> bytes:  # noqa: ARG002
        """Return the events of new text."""
        before = self._opened("message")
        self._texts.append(text)
        number, self._number = self._number, self._number + 1
        return before + self._start + _encode(text) + b',"logprobs":[],' + _sequence(number)

    def texts(self, index: int, texts: Sequence[str]) -> bytes:
        """Return the events of several new texts, or of none."""
        return b"".join(self.text(index, text) for text in texts)

    def frame(self, index: int) -> None:
        """Return None: the first text of a block opens it."""

    def delta(
        self, index: int, delta: Mapping[str, Any], logprobs: Mapping[str, Any] | None
    ) -> bytes:
        """Return the events of any change."""
        made = b""
        if thought := delta.get("reasoning"):
            made += self._opened("reasoning")
            self._texts.append(thought)
            made += self._at("response.reasoning_text.delta", delta=thought)
        if logprobs is not None and "content" in delta:
            made += self._opened("message")
            self._texts.append(delta["content"])
            self._logprobs += logprobs["content"]
            made += self._at(_TEXT, delta=delta["content"], logprobs=logprobs["content"])
        elif text := delta.get("content"):
            made += self.text(index, text)
        for call in delta.get("tool_calls", ()):
            function = call["function"]
            if "id" in call:
                made += self._opened("function_call", call["id"], function["name"])
            if part := function.get("arguments"):
                self._texts.append(part)
                made += self._at("response.function_call_arguments.delta", delta=part)
        return made

    def finish(self, index: int, reason: str) -> bytes:  # noqa: ARG002
        """Close the last item; the end of the answer comes with the counts."""
        self._reason = reason
        before = b"" if self._items else self._opened("message")
        return before + self._closed("incomplete" if reason == "length" else "completed")

    def usage(self, counts: Mapping[str, Any]) -> bytes:
        """Return the last event."""
        status = "incomplete" if self._reason == "length" else "completed"
        self._result = self._response(status, counts)
        return self._event(f"response.{status}", response=self._result)

    def error(self, error: ApiError) -> bytes:
        """Return the events of an error: clients look for the one or the other."""
        made = self._closed("incomplete")
        what = {"code": error.code, "message": error.message, "param": error.param}
        made += self._event("error", **what, error={"type": error.type, **what})
        code = "server_error" if error.status >= 500 else "invalid_prompt"
        failed = {"code": code, "message": error.message}
        return made + self._event(
            "response.failed", response=self._response("failed", error=failed)
        )

    def _response(
        self,
        status: str,
        counts: Mapping[str, Any] | None = None,
        error: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            **self._head,
            "status": status,
            "completed_at": int(time.time()) if status == "completed" else None,
            "incomplete_details": cut,
            "error": error,
            "output": list(self._items),
            "usage": None if counts is None else self._usage(counts),
        }

    def _usage(self, counts: Mapping[str, Any]) -> dict[str, Any]:
        thoughts = [
            part["text"]
            for item in self._items
            if item["type"] == "reasoning"
            for part in item["content"]
        ]
        return {
            "input_tokens": counts["prompt_tokens"],
            # The servers do not say what came from the prefix cache.
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": counts["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": self._count("".join(thoughts))},
            "total_tokens": counts["total_tokens"],
        }

    def _opened(self, kind: str, call_id: str = "", name: str = "") -> bytes:
        """Return the events that begin an item, unless it is open."""
        if self._open is not None and self._open["type"] == kind and not call_id:
            return b""
        before = self._closed("completed")
        id = f"{_PREFIXES[kind]}_{self._id}_{len(self._items)}"
        item: dict[str, Any] = {"id": id, "type": kind, "status": "in_progress"}
        item |= _filled(kind, call_id, name)
        self._items.append(item)
        self._open, self._texts, self._logprobs = item, [], []
        made = self._event("response.output_item.added", output_index=self._index, item=item)
        if kind != "function_call":
            made += self._at("response.content_part.added", part=_content(kind, "", []))
        place = {"item_id": id, "output_index": self._index, "content_index": 0}
        head = _encode({"type": _TEXT, **place})[:-1]
        self._start = f"event: {_TEXT}\ndata: ".encode() + head + b',"delta":'
        return before + made

    def _closed(self, status: str) -> bytes:
        """Return the events that end the open item."""
        item, text = self._open, "".join(self._texts)
        if item is None:
            return b""
        if item["type"] == "function_call":
            done = "response.function_call_arguments.done"
            made = self._at(done, arguments=text, name=item["name"])
            whole = {**item, "arguments": text}
        else:
            part = _content(item["type"], text, self._logprobs)
            made = self._at(f"response.{part['type']}.done", **_without_kind(part))
            made += self._at("response.content_part.done", part=part)
            whole = {**item, "content": [part]}
        self._items[-1] = {**whole, "status": status}
        self._open = None
        return made + self._event(
            "response.output_item.done", output_index=self._index, item=self._items[-1]
        )

    @property
    def _index(self) -> int:
        return len(self._items) - 1

    def _at(self, kind: str, **values: Any) -> bytes:
        """Return an event of the open item."""
        assert self._open is not None
        place: dict[str, Any] = {"item_id": self._open["id"], "output_index": self._index}
        if self._open["type"] != "function_call":
            place["content_index"] = 0
        return self._event(kind, **place, **values)

    def _event(self, kind: str, **values: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        content = _encode({"type": kind, **values})[:-1]
        return f"event: {kind}\ndata: ".encode() + content + b"," + _sequence(number)


def _sequence(number: int) -> bytes:
    return b'"sequence_number":%d}\n\n' % number


def _filled(kind: str, call_id: str, name: str) -> dict[str, Any]:
    """Return the keys of a new item that depend on its kind."""
    if kind == "function_call":
        return {"call_id": call_id, "name": name, "arguments": ""}
    if kind == "reasoning":
        return {"summary": [], "content": []}
    return {"role": "assistant", "content": []}


def _without_kind(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the event of a complete text has of its part."""
    return {name: part[name] for name in ("text", "logprobs") if name in part}


def _content(kind: str, text: str, logprobs: list[Any]) -> dict[str, Any]:
    if kind == "reasoning":
        return {"type": "reasoning_text", "text": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}
