"""``tools`` and ``tool_choice`` of a chat."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from trtbuild_gateway.failures import ApiError, invalid

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
Mode = Literal["none", "auto", "required"]


@dataclass(frozen=True, slots=True)
class ToolPlan:
    """Which tools the model may call.

    Attributes:
        tools: As the client wrote them.
        mode: Whether it may, must not or must call one.
        only: The one tool that must be called; empty if the model chooses.
        parallel: Whether it may call more than one.
    """

    tools: Sequence[Mapping[str, Any]]
    mode: Mode = "auto"
    only: str = ""
    parallel: bool = True

    def parameters(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the JSON schema of the arguments of each tool."""
        functions = [tool["function"] for tool in self.tools]
        return {function["name"]: function.get("parameters") or {} for function in functions}


def tool_plan(
    tools: Sequence[Any] | None, choice: str | Mapping[str, Any] | None, *, parallel: bool
) -> ToolPlan | None:
    """Return what a request says about tools; None without tools.

    Raises:
        ApiError: A tool has another form, or the choice is unknown.
    """
    if not tools:
        if choice in (None, "none", "auto"):
            return None
        raise invalid("'tool_choice' needs 'tools'", "tool_choice", "missing_parameter")
    names = [_name(tool, f"tools[{at}]") for at, tool in enumerate(tools)]
    for at, name in enumerate(names):
        if name in names[:at]:
            raise invalid(f"two tools have the name {name!r}", f"tools[{at}].function.name")
    if choice is None or isinstance(choice, str):
        return ToolPlan(tools, _mode(choice or "auto", "tool_choice"), parallel=parallel)
    if choice.get("type") == "function":
        only = _chosen(choice, names, "tool_choice")
        return ToolPlan(_named(tools, {only}), "required", only, parallel)
    if choice.get("type") == "allowed_tools":
        return _allowed(tools, names, choice.get("allowed_tools"), parallel=parallel)
    raise _unknown(choice.get("type"), "tool_choice.type")


def _allowed(
    tools: Sequence[Any], names: Sequence[str], allowed: Any, *, parallel: bool
) -> ToolPlan:
    where = "tool_choice.allowed_tools"
    rows = allowed.get("tools") if isinstance(allowed, Mapping) else None
    if not isinstance(rows, list) or not rows:
        raise invalid(f"'{where}.tools' lists no tool", f"{where}.tools")
    chosen = {_chosen(row, names, f"{where}.tools[{at}]") for at, row in enumerate(rows)}
    mode = _mode(allowed.get("mode", "auto"), f"{where}.mode")
    return ToolPlan(_named(tools, chosen), mode, parallel=parallel)


def _named(tools: Sequence[Any], chosen: set[str]) -> list[Any]:
    return [tool for tool in tools if tool["function"]["name"] in chosen]


def _mode(value: Any, where: str) -> Mode:
    if value not in ("none", "auto", "required"):
        raise _unknown(value, where)
    mode: Mode = value
    return mode


def _unknown(value: Any, where: str) -> ApiError:
    return invalid(
        f"invalid value for {where!r}: {value!r}; it is 'none', 'auto', 'required' or an object of "
        "type 'function' or 'allowed_tools'",
        where,
        "invalid_tool_choice",
    )


def _chosen(row: Any, names: Sequence[str], where: str) -> str:
    function = row.get("function") if isinstance(row, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if name not in names:
        listed = ", ".join(names)
        raise invalid(
            f"'{where}' names the tool {name!r}; 'tools' has: {listed}", where, "unknown_tool"
        )
    return str(name)


def _name(tool: Any, where: str) -> str:
    """Check the form of a tool; return its name."""
    kind = tool.get("type", "function")
    if kind != "function":
        raise invalid(
            f"'{where}' has the type {kind!r}: only functions are supported",
            f"{where}.type",
            "unsupported_tool",
        )
    function = tool.get("function")
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(name, str):
        raise invalid(f"'{where}.function' has no name", f"{where}.function.name")
    if not _NAME.fullmatch(name):
        raise invalid(
            f"the name {name!r} of '{where}' is not 1 to 64 letters, digits, '_', '-' or '.'",
            f"{where}.function.name",
        )
    if not isinstance(function.get("parameters") or {}, Mapping):
        raise invalid(
            f"'{where}.function.parameters' is not a JSON schema", f"{where}.function.parameters"
        )
    return name
