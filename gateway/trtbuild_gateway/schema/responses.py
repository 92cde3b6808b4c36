"""``/v1/responses``: the request as one of ``/v1/chat/completions``.

Source: openai-python 3.57.0, types/responses/response_create_params.py, and the Open Responses
description of 2026-04-24.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from trtbuild_gateway.failures import ApiError, invalid
from trtbuild_gateway.schema.parameters import Metadata
from trtbuild_gateway.schema.sampling import Effort, EventOptions, Positive

_OWN = (
    "background", "include", "input", "instructions", "max_output_tokens", "max_tool_calls",
    "metadata", "reasoning", "store", "text", "tool_choice", "tools", "truncation",
)  # fmt: skip
_ECHOED = ("user", "safety_identifier", "prompt_cache_key", "service_tier")
_LOGPROBS = "message.output_text.logprobs"

Includable = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]
"""Only log probabilities add something: the others belong to tools that no answer has, or to
reasoning, which answers have in the clear."""


class TextConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``text``."""

    format: dict[str, Any] | None = None
    verbosity: str | None = None


class ReasoningConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``reasoning``."""

    effort: Effort | None = None
    summary: str | None = None
    generate_summary: str | None = None
    mode: str | None = None
    context: str | None = None


class ResponsesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters that chats do not have in this form."""

    input: str | list[dict[str, Any]]
    stream_options: EventOptions | None = None
    include: list[Includable] = []
    instructions: str | None = None
    max_output_tokens: Positive | None = None
    metadata: Metadata = {}
    reasoning: ReasoningConfig = ReasoningConfig()
    text: TextConfig = TextConfig()
    tools: list[dict[str, Any]] = []
    tool_choice: str | dict[str, Any] = "auto"


def as_chat(body: Mapping[str, Any], request: ResponsesRequest) -> dict[str, Any]:
    """Return a request in the form of a chat.

    Args:
        body: The request as the client sent it.
        request: Its checked parameters.

    Raises:
        ApiError: Content, a tool or a form of the answer that has no equivalent.
    """
    shared = {key: value for key, value in body.items() if key not in (*_OWN, *_ECHOED)}
    made: dict[str, Any] = {**shared, "messages": _with_instructions(request)}
    if request.max_output_tokens is not None:
        made["max_completion_tokens"] = request.max_output_tokens
    if request.tools:
        made["tools"] = [_tool(at, tool) for at, tool in enumerate(request.tools)]
    if "tool_choice" in body:
        made["tool_choice"] = _choice(request.tool_choice)
    if (form := _form(request.text)) is not None:
        made["response_format"] = form
    if (effort := _effort(request.reasoning)) is not None:
        made["reasoning_effort"] = effort
    if _LOGPROBS in request.include:
        made["logprobs"] = True
    elif body.get("top_logprobs"):
        raise invalid(f"'top_logprobs' needs {_LOGPROBS!r} in 'include'", "top_logprobs")
    return made


def _with_instructions(request: ResponsesRequest) -> list[dict[str, Any]]:
    """Return the messages; templates take one system message only, so two at the start are one."""
    given = request.input
    found = [{"role": "user", "content": given}] if isinstance(given, str) else _messages(given)
    if not request.instructions:
        return found
    parts: list[Any] = [{"type": "text", "text": request.instructions}]
    if found and found[0]["role"] in ("system", "developer"):
        parts += _parts(found.pop(0)["content"], "input[0].content")
    return [{"role": "system", "content": parts}, *found]


def _messages(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for at, item in enumerate(items):
        kind = item.get("type") or ("message" if "role" in item else None)
        add = _ITEMS.get(kind) if isinstance(kind, str) else None
        if add is None:
            why = (
                "nothing is stored" if kind == "item_reference" else "the gateway has no such tool"
            )
            raise invalid(
                f"'input[{at}]' has the type {kind!r}, which cannot be used: {why}; there is: "
                + ", ".join(_ITEMS),
                f"input[{at}].type",
                "unsupported_item",
            )
        add(made, item, f"input[{at}]")
    return made


def _add_message(made: list[dict[str, Any]], item: Mapping[str, Any], where: str) -> None:
    role = item.get("role")
    if role not in ("user", "assistant", "system", "developer"):
        raise invalid(
            f"the role of {where!r} must be user, assistant, system or developer", f"{where}.role"
        )
    content = _parts(item.get("content"), f"{where}.content")
    if role != "assistant":
        made.append({"role": role, "content": content})
        return
    turn = _turn(made)
    if "content" in turn or "tool_calls" in turn:
        turn = {"role": "assistant"}
        made.append(turn)
    turn["content"] = content


def _add_reasoning(made: list[dict[str, Any]], item: Mapping[str, Any], where: str) -> None:
    parts = item.get("content") or item.get("summary") or []
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise invalid(f"'content' and 'summary' of {where!r} must be lists of parts", where)
    text = "\n".join(str(part.get("text", "")) for part in parts)
    if not text and item.get("encrypted_content"):
        raise invalid(
            f"the reasoning of {where!r} is encrypted, and the gateway has no key: send it as "
            "'content', as the gateway did",
            f"{where}.encrypted_content",
            "unsupported_item",
        )
    if not text:
        return
    turn = _turn(made)
    if turn.keys() - {"role"}:
        turn = {"role": "assistant"}
        made.append(turn)
    turn["reasoning"] = text


def _add_call(made: list[dict[str, Any]], item: Mapping[str, Any], where: str) -> None:
    for name in ("call_id", "name", "arguments"):
        if not isinstance(item.get(name), str):
            raise invalid(f"'{where}.{name}' must be text", f"{where}.{name}", "invalid_type")
    function = {"name": item["name"], "arguments": item["arguments"]}
    call = {"id": item["call_id"], "type": "function", "function": function}
    _turn(made).setdefault("tool_calls", []).append(call)


def _add_result(made: list[dict[str, Any]], item: Mapping[str, Any], where: str) -> None:
    id = item.get("call_id")
    if not isinstance(id, str):
        raise invalid(f"'{where}.call_id' must be text", f"{where}.call_id", "invalid_type")
    content = _parts(item.get("output"), f"{where}.output")
    made.append({"role": "tool", "tool_call_id": id, "content": content})


_Add = Callable[[list[dict[str, Any]], Mapping[str, Any], str], None]
_ITEMS: Mapping[str, _Add] = {
    "message": _add_message,
    "reasoning": _add_reasoning,
    "function_call": _add_call,
    "function_call_output": _add_result,
}


def _turn(made: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the assistant's last message, which reasoning, text and calls make together."""
    if not made or made[-1]["role"] != "assistant":
        made.append({"role": "assistant"})
    return made[-1]


def _parts(content: Any, where: str) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise invalid(f"{where!r} must be text or a list of parts", where, "invalid_type")
    return [_part(part, f"{where}[{at}]") for at, part in enumerate(content)]


def _part(part: dict[str, Any], where: str) -> dict[str, Any]:
    kind = part.get("type")
    if kind in ("input_text", "output_text", "text"):
        if not isinstance(part.get("text"), str):
            raise invalid(f"'{where}.text' must be text", f"{where}.text", "invalid_type")
        return {"type": "text", "text": part["text"]}
    if kind == "input_image":
        if not isinstance(part.get("image_url"), str):
            raise invalid(
                f"{where!r} needs 'image_url': the gateway stores no files", f"{where}.image_url"
            )
        image = {"url": part["image_url"], "detail": part.get("detail")}
        return {"type": "image_url", "image_url": image}
    if kind in ("refusal", "input_audio"):
        return part
    raise invalid(
        f"{where!r} has the type {kind!r}; there is: input_text, output_text, input_image, refusal",
        f"{where}.type",
        "unsupported_content",
    )


def _tool(at: int, tool: Mapping[str, Any]) -> dict[str, Any]:
    where = f"tools[{at}]"
    kind = tool.get("type")
    if kind != "function":
        raise invalid(
            f"{where!r} has the type {kind!r}: the gateway runs no tools itself, only functions "
            "of the client are supported",
            f"{where}.type",
            "unsupported_tool",
        )
    for name in ("defer_loading", "async"):
        if tool.get(name):
            raise invalid(f"'{where}.{name}' is not supported", f"{where}.{name}")
    names = ("name", "description", "parameters", "strict")
    function = {name: tool[name] for name in names if tool.get(name) is not None}
    return {"type": "function", "function": function}


def _choice(choice: str | dict[str, Any]) -> str | dict[str, Any]:
    """Return the choice in a chat's form; what is unknown is left for the chat to refuse."""
    if isinstance(choice, str):
        return choice
    if choice.get("type") == "function":
        return {"type": "function", "function": {"name": choice.get("name")}}
    if choice.get("type") == "allowed_tools":
        rows = choice.get("tools")
        if isinstance(rows, list):
            rows = [_choice(row) for row in rows if isinstance(row, dict)]
        mode = choice.get("mode", "auto")
        return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": rows}}
    return choice


def _form(text: TextConfig) -> dict[str, Any] | None:
    if text.verbosity not in (None, "medium"):
        raise _refused("text.verbosity", "medium", "ask for it in a message")
    if text.format is None:
        return None
    kind = text.format.get("type")
    if kind in ("text", "json_object"):
        return {"type": kind}
    if kind != "json_schema":
        raise invalid(
            f"'text.format.type' is {kind!r}; it may be text, json_object or json_schema",
            "text.format.type",
        )
    if not isinstance(text.format.get("schema"), dict):
        raise invalid("'text.format.schema' must be a JSON schema", "text.format.schema")
    schema = {"name": "answer", **{k: v for k, v in text.format.items() if k != "type"}}
    return {"type": "json_schema", "json_schema": schema}


def _effort(reasoning: ReasoningConfig) -> str | None:
    why = "answers have the whole reasoning, and no model here sums it up"
    for name in ("summary", "generate_summary"):
        if getattr(reasoning, name) not in (None, "auto"):
            raise _refused(f"reasoning.{name}", "auto", why)
    if reasoning.mode not in (None, "standard"):
        raise _refused("reasoning.mode", "standard", "there is one mode")
    if reasoning.context not in (None, "auto"):
        raise _refused("reasoning.context", "auto", "the chat template decides what it keeps")
    return reasoning.effort


def _refused(name: str, accepted: str, why: str) -> ApiError:
    message = f"the parameter {name!r}: only {accepted!r} is accepted; {why}"
    return invalid(message, name, "unsupported_parameter")
