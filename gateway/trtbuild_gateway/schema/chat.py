"""``/v1/chat/completions``: the request, and its messages as a chat template reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from trtbuild_gateway.failures import invalid
from trtbuild_gateway.schema.sampling import Effort, Positive, SamplingFields, Whole

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]


class Message(msgspec.Struct, frozen=True):
    """A message, as far as its form is checked; the template reads all of it."""

    role: Role
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[dict[str, Any]] | None = None


class ChatRequest(SamplingFields, frozen=True, kw_only=True):
    """The parameters that completions do not have."""

    messages: list[dict[str, Any]]
    max_tokens: Positive | None = None
    max_completion_tokens: Positive | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool = True
    reasoning_effort: Effort | None = None
    thinking_token_budget: Whole | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False

    def limit(self) -> int | None:
        """Return the most tokens of the answer, None if the client gave no limit."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    def more(self) -> Mapping[str, Any]:
        """Return vLLM's budget of reasoning, which other engines do not have."""
        budget = self.thinking_token_budget
        return {} if budget is None else {"thinking_token_budget": budget}

    def alternatives(self) -> int | None:
        """Return the number of alternatives for each token; None without log probabilities."""
        if not self.logprobs:
            if self.top_logprobs:
                raise invalid("'top_logprobs' needs 'logprobs': true", "top_logprobs")
            return None
        return self.top_logprobs or 0


def checked_messages(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages in the form that templates know: arguments of tool calls as objects, and
    text in parts as one text.

    Raises:
        ApiError: There are none, or one has another form.
    """
    if not messages:
        raise invalid(
            "'messages' is empty; send at least one message", "messages", "empty_messages"
        )
    return [_checked(at, message) for at, message in enumerate(messages)]


def _checked(at: int, message: dict[str, Any]) -> dict[str, Any]:
    try:
        found = msgspec.convert(message, Message)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        place = f"messages[{at}]{where.rstrip('`')}"
        raise invalid(f"invalid value for {place!r}: {what}", place, "invalid_type") from None
    if found.content is None and found.role in ("system", "developer", "user"):
        raise invalid(f"'messages[{at}]' has no content", f"messages[{at}].content")
    made = {key: value for key, value in message.items() if value is not None}
    if isinstance(found.content, list):
        made["content"] = _joined(found.content, f"messages[{at}].content")
    if found.tool_calls:
        made["tool_calls"] = [
            _call(call, f"messages[{at}].tool_calls") for call in found.tool_calls
        ]
    if "reasoning" in made or "reasoning_content" in made:
        thought = made.get("reasoning") or made.get("reasoning_content")
        made |= {"reasoning": thought, "reasoning_content": thought}
    return made


def _joined(parts: list[dict[str, Any]], where: str) -> str | list[dict[str, Any]]:
    """Return parts as one text if they are nothing else: many templates take only that."""
    for at, part in enumerate(parts):
        kind = part.get("type")
        if kind in ("text", "refusal"):
            if not isinstance(part.get(kind), str):
                raise invalid(f"'{where}[{at}].{kind}' must be text", f"{where}[{at}].{kind}")
        elif kind not in ("image_url", "input_audio"):
            raise invalid(f"unknown type of content {kind!r}", f"{where}[{at}].type")
    if all(part["type"] in ("text", "refusal") for part in parts):
        return "\n".join(part[part["type"]] for part in parts)
    return parts


def _call(call: dict[str, Any], where: str) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise invalid(f"a call in '{where}' has no function name", where)
    arguments = function.get("arguments", "{}")
    if isinstance(arguments, str):
        try:
            arguments = msgspec.json.decode(arguments or "{}")
        except (msgspec.DecodeError, RecursionError):
            raise invalid(
                f"the arguments of {function['name']!r} in '{where}' are not valid JSON", where
            ) from None
    return {**call, "function": {**function, "arguments": arguments}}
