"""What a user meant by a command line that Typer refuses."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Any

from trtbuild.errors import UsageError

_MEANT: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("--model-repository", "--model-store"), ("--repo", "repo")),
    **dict.fromkeys(("--output", "--output-dir", "-o"), ("--out", "--repo")),
    **dict.fromkeys(("--model", "--model-id", "--model-dir", "--checkpoint"), ("source", "repo")),
    "--served-model-name": ("--name",),
}
"""Options of tritonserver, vLLM and other tools, with ours for the same thing; arguments too."""


def refusal(error: Any, ctx: Any) -> Exception:
    """Return our error for an error of Typer; itself if it is something else, such as the help."""
    kind, command, param = type(error).__name__, ctx.command_path, getattr(error, "param", None)
    offered = {name for one in ctx.command.get_params(ctx) for name in (*one.opts, one.name)}
    fix = f"see {command} -h"
    if kind == "NoSuchOption":
        return _unknown_option(error.option_name, command, offered)
    said = error.message.rstrip(".")
    if param is not None:
        name = param.opts[0] if param.param_type_name == "option" else param.name.upper()
        fix = f"give {name} ({param.help.rstrip('.')})" if param.help else fix
        return UsageError(f"{command}{f' {name}: {said}' if said else f' needs {name}'}", fix=fix)
    if "extra argument" in said:
        extra = said.partition("(s) (")[2].removesuffix(")")
        fix = f"use --repo {extra}, or {fix}" if "--repo" in offered else fix
        return UsageError(f"{command} takes no argument {extra}", fix=fix)
    known = kind in ("UsageError", "BadOptionUsage", "BadArgumentUsage")
    return UsageError(f"{command}: {said}", fix=fix) if known else error


def unknown_command(name: str, group: str, offered: Collection[str]) -> UsageError:
    """The error for a command that the program, or a group of commands, does not have."""
    close = difflib.get_close_matches(name, offered, n=1)
    fix = f"did you mean {group} {close[0]}?" if close else f"{group} -h lists the commands"
    return UsageError(f"{group} has no command {name}", fix=fix)


def _unknown_option(option: str, command: str, offered: Collection[str]) -> UsageError:
    meant = next((name for name in _MEANT.get(option, ()) if name in offered), "")
    if meant.startswith("-"):
        fix = f"use {meant}"
    elif meant:
        fix = f"give it without an option: {command} {meant.upper()}"
    elif close := difflib.get_close_matches(option, offered, n=1, cutoff=0.7):
        fix = f"did you mean {close[0]}?"
    elif "--set" in offered and option.startswith("--"):
        setting = option.removeprefix("--").replace("-", "_")
        fix = f"give a setting of the engine as --set {setting}=VALUE; {command} -h lists options"
    else:
        fix = f"{command} -h lists the options"
    return UsageError(f"{command} has no option {option}", fix=fix)
