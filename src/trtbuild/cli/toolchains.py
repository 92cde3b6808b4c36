"""``trtbuild toolchains``: the Triton releases known, and what each carries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from trtbuild.cli import options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trtbuild.toolchain import Toolchain

_EPILOG = """
Examples

  trtbuild toolchains

  trtbuild toolchains 26.07

  trtbuild toolchains 26.07 --arguments

  trtbuild toolchains 26.07 --arguments --backend trtllm

  trtbuild toolchains --json
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("toolchains", epilog=_EPILOG)(toolchains)


def toolchains(
    release: Annotated[str, typer.Argument(help="Show this release only, YY.MM.")] = "",
    *,
    arguments: Annotated[
        bool,
        typer.Option(
            "--arguments", help="List the engine arguments that --set takes in this release."
        ),
    ] = False,
    backend: Annotated[
        str, typer.Option(help="With --arguments: the builder whose arguments to list.")
    ] = "vllm",
    as_json: options.AsJson = False,
) -> None:
    """List the Triton releases and the versions in their images, or one release in detail."""
    from trtbuild import toolchain
    from trtbuild.cli.output import print_json
    from trtbuild.errors import UsageError

    rows = (toolchain.load(release),) if release else toolchain.releases()
    if not arguments:
        show = _print_release if release else _print_releases
        print_json(rows) if as_json else show(rows)
        return
    if not release:
        raise UsageError("--arguments needs a release", fix="name one: trtbuild toolchains 26.07")
    table = _arguments(backend, rows[0])
    print_json(table) if as_json else _print_arguments(table)


def _arguments(backend: str, row: Toolchain) -> list[Mapping[str, Any]]:
    """What ``--set`` takes, as the builder lists it."""
    from trtbuild.builder import Builder, discover
    from trtbuild.errors import UsageError

    builders = (each.builder for each in discover() if each.builder)
    listed = {one.name: one for one in builders if type(one).arguments is not Builder.arguments}
    if backend not in listed:
        known = ", ".join(listed)
        raise UsageError(f"the builder {backend!r} has no list of arguments", fix=f"use {known}")
    return list(listed[backend].arguments(row))


_UNCONFIRMED = "?  not confirmed by NVIDIA's documentation yet"


def _print_release(rows: tuple[Toolchain, ...]) -> None:
    """All that is known of one release."""
    titles = {
        "server_version": "server",
        "vllm": "vLLM",
        "vllm_cuda": "  CUDA",
        "vllm_driver": "  GPU driver",
        "vllm_image": "  image",
        "trtllm": "TensorRT-LLM",
        "tensorrt": "  TensorRT",
        "cuda": "  CUDA",
        "driver": "  GPU driver",
        "python": "  Python",
        "trtllm_image": "  image",
    }
    (row,) = rows
    typer.echo(f"Triton {row.triton}")
    for name, title in titles.items():
        typer.echo(f"  {title:<14}  {_cell(row, name)}")
    typer.echo(f"  {'  engines':<14}  {'compiled' if row.engine_flow else 'not compiled'}")
    if row.unconfirmed:
        typer.echo(_UNCONFIRMED)


def _print_releases(rows: tuple[Toolchain, ...]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from trtbuild.cli.output import console

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    columns = ("triton", "server_version", "vllm", "vllm_cuda", "trtllm", "tensorrt")
    titles = ("Triton", "server", "vLLM", "its CUDA", "TensorRT-LLM", "TensorRT")
    for title in titles:
        table.add_column(title, no_wrap=True)
    for row in rows:
        table.add_row(*(_cell(row, column) for column in columns))
    console().print(table)
    if any(row.unconfirmed for row in rows):
        typer.echo(_UNCONFIRMED)


def _cell(row: Toolchain, name: str) -> str:
    return (getattr(row, name) or "–") + (" ?" if name in row.unconfirmed else "")


def _bounds(row: Mapping[str, Any]) -> str:
    """``≥ 0 ≤ 1``; an option of an engine says with ``above`` that its minimum is not allowed."""
    strict = row.get("above") is True
    limits = {">" if strict else "≥": row.get("minimum"), "≤": row.get("maximum")}
    limits |= {} if isinstance(row.get("above"), bool) else {">": row.get("above")}
    limits["<"] = row.get("below")
    return " ".join(f"{sign} {limit:g}" for sign, limit in limits.items() if limit is not None)


def _print_arguments(rows: list[Mapping[str, Any]]) -> None:
    import json

    from rich.table import Table

    from trtbuild.cli.output import console

    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=max(len(row["name"]) for row in rows))  # a name is never cut
    for row in rows:
        types = (*row["types"], "null") if row.get("nullable") else row["types"]
        shown = " | ".join(map(json.dumps, row["choices"])) if row["choices"] else " | ".join(types)
        shown = f"{shown} {_bounds(row)}".rstrip()
        default = json.dumps(row["default"]) if row.get("has_default") else ""
        table.add_row(row["name"], shown, row.get("when") or row.get("meaning") or default)
    console().print(table)
