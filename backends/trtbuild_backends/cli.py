"""``trtbuild adapters``: the adapters of a registry, and their environments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trtbuild.cli.values import Program

if TYPE_CHECKING:
    from trtbuild_backends.registry import Registry

_LIST = """
Examples

  trtbuild adapters list

  trtbuild adapters list -f registry.yaml --json
"""
_INSTALL = """
Examples

  trtbuild adapters install -f registry.yaml

  trtbuild adapters install transformers-adapter -f registry.yaml
"""

_PRUNE = """
Examples

  trtbuild adapters prune -f registry.yaml --dry-run

  trtbuild adapters prune -f chat.yaml -f embed.yaml
"""

_File = Annotated[Path | None, typer.Option("--file", "-f", help="The model registry.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = Program(
        help="List a model registry's adapters, install them in advance, and remove old ones.",
        no_args_is_help=True,
    )
    group.command("list", epilog=_LIST)(list_adapters)
    group.command("install", epilog=_INSTALL)(install)
    group.command("prune", epilog=_PRUNE)(prune)
    app.add_typer(group, name="adapters")


def list_adapters(*, file: _File = None, as_json: _Json = False) -> None:
    """List the adapters of a registry and those installed beside the gateway."""
    from trtbuild.cli.output import console, print_json
    from trtbuild_backends.manifest import manifests
    from trtbuild_backends.registry import read_registry

    registry = read_registry(file)
    found = [_row(name, registry) for name in sorted({*registry.adapters, *manifests()})]
    if as_json:
        print_json(found)
        return
    from rich.table import Table

    table = Table("adapter", "from", "installed", "models", box=None)
    for row in found:
        installed = "yes" if row["installed"] else "no"
        table.add_row(row["name"], row["from"], installed, ", ".join(row["models"]))
    console().print(table)


def install(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[ADAPTER]...", help="Default: all of them.")
    ] = None,
    *,
    file: Annotated[Path, typer.Option("--file", "-f", help="The model registry.")],
    as_json: _Json = False,
) -> None:
    """Create the environments of a registry's adapters, as the first load would."""
    from trtbuild.cli.output import print_json, progress
    from trtbuild.errors import UsageError
    from trtbuild_backends.environments import environment_for
    from trtbuild_backends.registry import read_registry

    registry = read_registry(file)
    wanted = names or list(registry.adapters)
    for name in wanted:
        if name not in registry.adapters:
            known = ", ".join(registry.adapters) or "none"
            raise UsageError(
                f"{file} has no adapter {name!r}; there is: {known}",
                fix="name one of them, or list it under 'adapters' with a lock",
            )
    made = []
    for name in wanted:
        with progress() as shown:
            settings = registry.adapters[name]
            found = environment_for(name, settings, install=True, progress=shown)
        made.append({"name": name, "python": str(found.python)})
        if not as_json:
            typer.echo(f"{name}: {found.python}")
    if as_json:
        print_json(made)


def prune(
    *,
    files: Annotated[
        list[Path],
        typer.Option("--file", "-f", help="A model registry whose environments stay; repeatable."),
    ],
    dry_run: Annotated[bool, typer.Option(help="Only show what would be removed.")] = False,
    as_json: _Json = False,
) -> None:
    """Remove the environments of this machine that no adapter of these registries needs."""
    from trtbuild.cli.output import print_json, progress
    from trtbuild_backends import environments
    from trtbuild_backends.registry import read_registry

    wanted = {
        f"{name} of {file}": settings
        for file in files
        for name, settings in read_registry(file).adapters.items()
    }
    with progress() as shown:
        found = environments.prune(wanted, dry_run=dry_run, progress=shown)
    if as_json:
        rows = [
            {
                "path": str(one.path),
                "bytes": one.size,
                "in_use": one.in_use,
                "removed": not (dry_run or one.in_use),
            }
            for one in found
        ]
        print_json(rows)
        return
    for one in found:
        done = "in use" if one.in_use else "unused" if dry_run else "removed"
        typer.echo(f"{one.path}: {one.size / 1e6:,.0f} MB, {done}")
    if not found:
        typer.echo("there is no environment that these registries do not need")


def _row(name: str, registry: Registry) -> dict[str, Any]:
    from trtbuild_backends.environments import is_made

    settings = registry.adapters.get(name)
    models = [model for model, entry in registry.models.items() if entry.adapter == name]
    if settings is None:
        return {"name": name, "from": "beside the gateway", "models": models, "installed": True}
    origin = settings.lock or settings.python
    return {
        "name": name,
        "from": str(origin),
        "models": models,
        "installed": is_made(name, settings),
    }
