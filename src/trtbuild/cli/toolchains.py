"""``trtbuild toolchains``: the Triton releases known, and what each carries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from trtbuild.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable

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
    release: Annotated[str, typer.Argument(help="Only this release, YY.MM.")] = "",
    *,
    arguments: Annotated[bool, typer.Option("--arguments", help="What --set takes in it.")] = False,
    backend: Annotated[
        str, typer.Option(help="With --arguments: vllm, trtllm or trtllm-engine.")
    ] = "vllm",
    as_json: options.AsJson = False,
) -> None:
    """List the Triton releases and the versions in their images; of one release, all of it."""
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
    if backend not in _ARGUMENTS:
        known = ", ".join(_ARGUMENTS)
        raise UsageError(f"--backend {backend!r} has no list of arguments", fix=f"use {known}")
    table = _ARGUMENTS[backend](rows[0])
    print_json(table) if as_json else _print_arguments(table)


def _of_vllm(row: Toolchain) -> list[dict[str, Any]]:
    from dataclasses import asdict

    from trtbuild import toolchain

    _require(row.vllm, row, "vLLM")
    return [asdict(one) for one in toolchain.engine_arguments(row.vllm).values()]


def _of_llm_api(row: Toolchain) -> list[dict[str, Any]]:
    """The arguments of LLM(), those inside objects by their dotted names."""
    from dataclasses import asdict

    from trtbuild import toolchain

    _require(row.trtllm, row, "TensorRT-LLM")
    release = toolchain.trtllm_release(row.trtllm)
    found = []
    for name, argument in release.arguments.items():
        found.append(asdict(argument))
        for path, group in release.groups.items():
            if path.split(".")[0] != name:
                continue
            for kind, fields in group.variants.items():
                when = f"{group.selector}={kind}" if group.selector else ""
                found += [
                    {**asdict(one), "name": f"{path}.{one.name}", "when": when}
                    for one in fields.values()
                ]
    return found


def _of_engines(row: Toolchain) -> list[dict[str, Any]]:
    """Options of trtllm-build and parameters of the Triton models that the release has."""
    from dataclasses import asdict

    from trtbuild import toolchain
    from trtbuild.errors import UsageError

    if not row.engine_flow:
        newest = next(one.triton for one in toolchain.releases() if one.engine_flow)
        raise UsageError(
            f"Triton {row.triton} compiles no engines", fix=f"use {newest} or older, or trtllm"
        )
    tables = (toolchain.build_options(), toolchain.triton_parameters())
    found = {name: one for table in tables for name, one in table.items()}
    free = [one for one in found.values() if not one.fixed and not one.unread]
    known = [one for one in free if one.known_to(row.trtllm)]
    more = [{"types": (one.type,), "choices": one.choices_of(row.trtllm)} for one in known]
    return [{**asdict(one), **extra} for one, extra in zip(known, more, strict=True)]


def _require(version: str, row: Toolchain, what: str) -> None:
    from trtbuild.errors import UsageError

    if not version:
        raise UsageError(
            f"Triton {row.triton} has no {what} image", fix="trtbuild toolchains shows who has"
        )


_ARGUMENTS: dict[str, Callable[[Toolchain], list[dict[str, Any]]]] = {
    "vllm": _of_vllm,
    "trtllm": _of_llm_api,
    "trtllm-engine": _of_engines,
}


_UNCONFIRMED = "?  not confirmed by the server's own documentation yet"


def _print_release(rows: tuple[Toolchain, ...]) -> None:
    """All that is known of one release."""
    titles = {
        "server_version": "server",
        "vllm": "vLLM",
        "vllm_cuda": "  CUDA",
        "vllm_image": "  image",
        "trtllm": "TensorRT-LLM",
        "tensorrt": "  TensorRT",
        "cuda": "  CUDA",
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


def _bounds(row: dict[str, Any]) -> str:
    """``≥ 0 ≤ 1``; an option of an engine says with ``above`` that its minimum is not allowed."""
    strict = row.get("above") is True
    limits = {">" if strict else "≥": row.get("minimum"), "≤": row.get("maximum")}
    limits |= {} if isinstance(row.get("above"), bool) else {">": row.get("above")}
    limits["<"] = row.get("below")
    return " ".join(f"{sign} {limit:g}" for sign, limit in limits.items() if limit is not None)


def _print_arguments(rows: list[dict[str, Any]]) -> None:
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
