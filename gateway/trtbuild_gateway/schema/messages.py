"""Anthropic's ``/v1/messages``: the request as one of ``/v1/chat/completions``.

Source: anthropic-sdk-python 2.14.0, types/message_create_params.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import msgspec

from trtbuild_gateway.failures import invalid
from trtbuild_gateway.schema.sampling import Effort

_SAME = ("model", "messages", "max_tokens", "temperature", "top_p", "top_k", "stream")


def as_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request in OpenAI's form.

    Raises:
        ApiError: A missing parameter, or content that has no equivalent.
    """
    if "max_tokens" not in body:
        raise invalid("the parameter 'max_tokens' is missing", "max_tokens", "missing_parameter")
    made = {name: body[name] for name in _SAME if name in body}
    given = body.get("messages")
    if not isinstance(given, list):
        raise invalid("the parameter 'messages' must be a list", "messages", "invalid_type")
    made["messages"] = [*_system(body.get("system")), *_messages(given)]
    if "stop_sequences" in body:
        made["stop"] = body["stop_sequences"]
    if tools := body.get("tools"):
        if not isinstance(tools, list):
            raise invalid("'tools' must be a list", "tools", "invalid_type")
        made["tools"] = [_tool(at, tool) for at, tool in enumerate(tools)]
    if "tool_choice" in body:
        made |= _choice(body["tool_choice"])
    if "thinking" in body:
        made |= _thinking(body["thinking"], body["max_tokens"])
    return made | _output(body.get("output_config", {}))


def _thinking(given: Any, max_tokens: Any) -> dict[str, Any]:
    """Return how much to reason; the model decides unless it is off or has a budget."""
    known = given if isinstance(given, dict) else {}
    kind, budget = known.get("type"), known.get("budget_tokens")
    if kind not in ("disabled", "adaptive", "enabled"):
        raise invalid("the type of 'thinking' must be disabled, adaptive or enabled", "thinking")
    if known.get("display") not in (None, "summarized"):
        raise invalid(
            "'thinking' is always shown: leave out 'display'", "thinking", "unsupported_parameter"
        )
    if kind == "disabled":
        return {"reasoning_effort": "none"}
    if kind == "adaptive":
        return {}
    if not (isinstance(budget, int) and isinstance(max_tokens, int) and 0 < budget < max_tokens):
        raise invalid(
            "'thinking.budget_tokens' must be a number above 0 and below 'max_tokens'", "thinking"
        )
    return {"thinking_token_budget": budget}


def _output(config: Any) -> dict[str, Any]:
    """Return the form of the answer and how long to think about it."""
    made: dict[str, Any] = {}
    if not isinstance(config, dict) or config.keys() - {"effort", "format"}:
        raise invalid("'output_config' may have 'effort' and 'format'", "output_config")
    if (effort := config.get("effort")) is not None:
        if effort not in get_args(Effort):
            raise invalid(
                f"the effort {effort!r} is not one of {', '.join(get_args(Effort))}",
                "output_config.effort",
            )
        made["reasoning_effort"] = effort
    form = config.get("format")
    if form is not None:
        if not isinstance(form, dict) or form.get("type") != "json_schema":
            raise invalid("the format must have the type 'json_schema'", "output_config.format")
        schema = {"name": "answer", "schema": form.get("schema")}
        made["response_format"] = {"type": "json_schema", "json_schema": schema}
    return made


def _system(value: Any) -> list[dict[str, Any]]:
    if not value:
        return []
    if not isinstance(value, str | list):
        raise invalid("'system' must be text or blocks", "system")
    parts = [value] if isinstance(value, str) else [_text(part, "system") for part in value]
    return [{"role": "system", "content": "\n".join(parts)}]


def _text(part: Any, where: str) -> str:
    if not isinstance(part, dict) or part.get("type") != "text":
        raise invalid(f"{where!r} may hold blocks of type 'text' only", where)
    if not isinstance(part.get("text"), str):
        raise invalid(f"a block of type 'text' in {where!r} has no text", where)
    return str(part["text"])


def _messages(messages: Sequence[Any]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for at, message in enumerate(messages):
        where = f"messages[{at}]"
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("user", "assistant"):
            raise invalid(f"the role of '{where}' must be user or assistant", f"{where}.role")
        content = message.get("content", "")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(blocks, list) or not all(isinstance(b, dict) for b in blocks):
            raise invalid(f"'{where}.content' must be text or blocks", f"{where}.content")
        made += _assistant(blocks, where) if role == "assistant" else _user(blocks, where)
    return made


def _user(blocks: Sequence[dict[str, Any]], where: str) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for block in blocks:
        kind = block.get("type")
        if kind == "tool_result":
            content = block.get("content", "")
            if not isinstance(content, str | list):
                raise invalid(f"a result in '{where}' must be text or blocks", f"{where}.content")
            if not isinstance(content, str):
                content = "\n".join(_text(part, f"{where}.content") for part in content)
            id = block.get("tool_use_id")
            results.append({"role": "tool", "tool_call_id": id, "content": content})
        elif kind == "text":
            parts.append({"type": "text", "text": block.get("text", "")})
        elif kind == "image":
            parts.append({"type": "image_url", "image_url": {"url": _image(block, where)}})
        else:
            raise invalid(f"unknown type of content {kind!r} in '{where}'", f"{where}.content")
    return [*results, *([{"role": "user", "content": parts}] if parts else [])]


def _image(block: dict[str, Any], where: str) -> str:
    source = block.get("source")
    if isinstance(source, dict) and source.get("type") == "base64":
        return f"data:{source.get('media_type', '')};base64,{source.get('data', '')}"
    if isinstance(source, dict) and source.get("type") == "url":
        return str(source.get("url", ""))
    raise invalid(f"an image in '{where}' needs a source of type base64 or url", f"{where}.content")


def _assistant(blocks: Sequence[dict[str, Any]], where: str) -> list[dict[str, Any]]:
    made: dict[str, Any] = {"role": "assistant"}
    texts = [_text(b, f"{where}.content") for b in blocks if b.get("type") == "text"]
    thoughts = [str(b.get("thinking", "")) for b in blocks if b.get("type") == "thinking"]
    calls = [
        {
            "id": b.get("id"),
            "type": "function",
            "function": {
                "name": b.get("name"),
                "arguments": msgspec.json.encode(b.get("input", {})).decode(),
            },
        }
        for b in blocks
        if b.get("type") == "tool_use"
    ]
    made["content"] = "\n".join(texts)
    if thoughts:
        made["reasoning"] = "\n".join(thoughts)
    if calls:
        made["tool_calls"] = calls
    return [made]


def _tool(at: int, tool: Any) -> dict[str, Any]:
    if not isinstance(tool, dict) or "input_schema" not in tool:
        raise invalid(
            f"'tools[{at}]' needs 'input_schema': the gateway runs no tools itself",
            f"tools[{at}]",
        )
    function = {"name": tool.get("name"), "parameters": tool["input_schema"]}
    if "description" in tool:
        function["description"] = tool["description"]
    return {"type": "function", "function": function}


def _choice(choice: Any) -> dict[str, Any]:
    kind = choice.get("type") if isinstance(choice, dict) else None
    known: dict[str, Any] = {"auto": "auto", "any": "required", "none": "none"}
    if kind == "tool":
        known["tool"] = {"type": "function", "function": {"name": choice.get("name")}}
    if not isinstance(kind, str) or kind not in known:
        raise invalid("'tool_choice' must have the type auto, any, tool or none", "tool_choice")
    made = {"tool_choice": known[kind]}
    if choice.get("disable_parallel_tool_use"):
        made["parallel_tool_calls"] = False
    return made
