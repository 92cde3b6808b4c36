"""What a user meant by an option that a command does not have."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from trtbuild.errors import UsageError

_REPOSITORY = ("--repo", "repo")
_OUTPUT = ("--out", "--repo")
_SOURCE = ("source", "repo")
_MEANT = {
    "--model-repository": _REPOSITORY,
    "--model-store": _REPOSITORY,
    "--output": _OUTPUT,
    "--output-dir": _OUTPUT,
    "-o": _OUTPUT,
    "--model": _SOURCE,
    "--model-id": _SOURCE,
    "--model-dir": _SOURCE,
    "--checkpoint": _SOURCE,
    "--served-model-name": ("--name",),
}
"""Options of tritonserver, vLLM and other tools, with ours for the same thing; arguments too."""


def unknown_option(option: str, command: str, offered: Collection[str]) -> UsageError:
    """The error for an option that does not exist.

    Args:
        option: What the user typed, such as ``--max-model-len``.
        command: The command with its groups, such as ``trtbuild convert``.
        offered: The command's options, such as ``--set``, and arguments, such as ``source``.
    """
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
