"""``trtbuild builders``: the builders that are installed, and what speaks against each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from trtbuild.cli import options

if TYPE_CHECKING:
    from trtbuild.planner import Candidate

_EPILOG = """
Examples

  trtbuild builders

  trtbuild builders Qwen/Qwen2.5-7B-Instruct --triton 25.08 --json
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("builders", epilog=_EPILOG)(builders)


def builders(
    source: Annotated[
        str, typer.Argument(help="Show why each builder can or cannot deploy this source.")
    ] = "",
    *,
    triton: options.Triton = "",
    trust_remote_code: options.TrustRemoteCode = False,
    allow_pickle: options.AllowPickle = False,
    as_json: options.AsJson = False,
) -> None:
    """List the builders, built-in and plug-ins, with the reasons against each."""
    from trtbuild import toolchain
    from trtbuild.builder import discover
    from trtbuild.cli.output import print_json, progress
    from trtbuild.pipeline.planning import survey_builders
    from trtbuild.planner import Candidate
    from trtbuild.recipe import DEFAULT_TRITON, model_from_flags

    release = triton or DEFAULT_TRITON
    if source:
        recipe = model_from_flags(
            source=source, trust_remote_code=trust_remote_code, allow_pickle=allow_pickle
        )
        with progress() as bars:
            found = survey_builders(recipe, triton=release, progress=bars)
    else:
        toolchain.load(release)
        found = tuple(
            Candidate(item, (item.problem,) if item.problem else ()) for item in discover()
        )
    listing = [_row(candidate, release) for candidate in found]
    if as_json:
        print_json(listing)
    else:
        _print(listing, about=source)


def _row(candidate: Candidate, release: str) -> dict[str, Any]:
    from trtbuild import toolchain

    builder = candidate.found.builder
    return {
        "name": candidate.found.name,
        "distribution": candidate.found.distribution,
        "summary": builder.summary if builder else "",
        "priority": builder.priority if builder else None,
        "image": builder.image(toolchain.load(release)) if builder else "",
        "usable": builder is not None and not candidate.reasons,
        "reasons": list(candidate.reasons),
    }


def _print(listing: list[dict[str, Any]], *, about: str) -> None:
    from rich.text import Text

    from trtbuild.cli.output import console

    out = console()
    if not listing:
        out.print("no builder is installed")
    for row in listing:
        style = "bold green" if row["usable"] else "bold red"
        out.print(Text.assemble((row["name"], style), f"  {row['summary']}"))
        out.print(Text(f"  from {row['distribution']}, priority {row['priority']}", "dim"))
        if row["image"]:
            out.print(Text(f"  serves in {row['image']}", "dim"))
        for reason in row["reasons"]:
            out.print(Text.assemble(("  not: ", "red"), reason))
        if about and row["usable"]:
            out.print(Text(f"  can deploy {about}", "green"))
