"""``trtbuild deploy``: files for production, written, compared and checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trtbuild.cli import options
from trtbuild.cli.values import Group, Program
from trtbuild_deploy.cli.verify import EXAMPLES, Repository, verify

if TYPE_CHECKING:
    from trtbuild_deploy.jobs.render import Deployment

_File = Annotated[
    Path | None, typer.Option("--file", "-f", help="The settings, such as those of --example.")
]
_Out = Annotated[Path, typer.Option("--out", "-o", help="Directory to write into.")]
_Written = Annotated[Path, typer.Option("--out", "-o", help="Directory to compare with.")]
_Force = Annotated[bool, typer.Option("--force", help="Overwrite files that were edited by hand.")]

_DEFAULTS = """\
# All settings have defaults; trtbuild deploy schema lists them.
server: {exitTimeout: 60}  # seconds for requests in flight to finish
"""


def _print_example(ctx: typer.Context, asked: bool) -> None:
    if asked:
        typer.echo(_described(str(ctx.info_name))[1] or _DEFAULTS, nl=False)
        raise typer.Exit


_Example = Annotated[
    bool,
    typer.Option(
        "--example",
        callback=_print_example,
        is_eager=True,
        help="Print a deploy.yaml to start from, and exit.",
    ),
]

_EXAMPLES = """
Examples

  trtbuild deploy {name} model_repository -o deploy/{name}

  trtbuild deploy {name} model_repository -f deploy.yaml -o deploy/{name}

  trtbuild deploy {name} model_repository -o deploy/{name} --dry-run --json
"""

_STARTED = """
Examples

  trtbuild deploy {name} --example > deploy.yaml

  trtbuild deploy {name} model_repository -f deploy.yaml -o deploy/{name}

  trtbuild deploy {name} model_repository -f deploy.yaml -o deploy/{name} --dry-run --json
"""


class _Targets(Group):
    """Names the nearest target for one that does not exist."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            from trtbuild_deploy.target import find_target

            find_target(args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)


def register(app: typer.Typer) -> None:
    """Add the commands: one for each target, and those about what a target wrote."""
    from trtbuild_deploy.target import target_names

    group = Program(
        cls=_Targets,
        help="Write and check the files that run a repository in production: Compose, Helm and "
        "others.",
        no_args_is_help=True,
    )
    for name in target_names():
        summary, example = _described(name)
        epilog = (_STARTED if example else _EXAMPLES).format(name=name)
        group.command(name, help=summary, epilog=epilog)(writer(name))
    example = "Examples\n\n  trtbuild deploy diff model_repository -o deploy/helm"
    group.command("diff", epilog=example)(diff)
    example = "Examples\n\n  trtbuild deploy check deploy/helm"
    group.command("check", epilog=example)(check)
    group.command("verify", epilog=EXAMPLES)(verify)
    example = "Examples\n\n  trtbuild deploy facts model_repository --json"
    group.command("facts", epilog=example)(facts)
    group.command("schema", epilog="Examples\n\n  trtbuild deploy schema > deploy.schema.json")(
        schema
    )
    app.add_typer(group, name="deploy")


def _described(name: str) -> tuple[str, str]:
    """A target's line in the help and its example; what is wrong with a broken target."""
    from trtbuild.errors import UsageError
    from trtbuild_deploy.target import example_of, find_target

    try:
        found = find_target(name)
    except UsageError as error:
        return error.what, ""
    return found.summary, example_of(found)


def writer(target: str) -> Callable[..., None]:
    """The command that writes a target's files."""

    def write(
        repo: Repository,
        *,
        out: _Out,
        file: _File = None,
        force: _Force = False,
        dry_run: options.DryRun = False,
        as_json: options.AsJson = False,
        _example: _Example = False,
    ) -> None:
        from trtbuild_deploy.jobs import render as jobs

        deployment = jobs.render(target, repo, file)
        if not dry_run:
            jobs.write(deployment, out, force=force)
        _report(deployment, out, written=not dry_run, as_json=as_json)

    return write


def _report(deployment: Deployment, out: Path, *, written: bool, as_json: bool) -> None:
    from trtbuild.cli.output import print_json

    rendered = deployment.rendered
    if as_json:
        print_json({
            "status": "written" if written else "planned",
            "target": deployment.target,
            "out": out,
            "repository": deployment.facts.digest,
            "files": [file.path for file in rendered.files],
            "notes": rendered.notes,
            "next": rendered.next,
        })  # fmt: skip
        return
    for file in rendered.files:
        typer.echo(f"{'wrote' if written else 'would write'} {out / file.path}")
    for note in rendered.notes:
        typer.echo(f"note: {note}", err=True)
    for command in rendered.next if written else ():
        typer.echo(f"next: {command}", err=True)


def diff(
    repo: Repository,
    *,
    out: _Written,
    file: _File = None,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with 6 when something differs.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Show what would change in a directory, and what was edited there by hand."""
    from trtbuild.cli.output import print_json
    from trtbuild.errors import ExitCode
    from trtbuild_deploy.jobs.differ import differences

    found = differences(repo, out, file)
    if as_json:
        print_json(found)
    else:
        for one in found:
            typer.echo(f"{one.state}: {one.path}")
            typer.echo(one.diff, nl=False)
        if not found:
            typer.echo(f"{out} is what would be written")
    if found and check:
        raise typer.Exit(ExitCode.REPOSITORY)


def check(
    folder: Annotated[Path, typer.Argument(help="Directory with deployment files.")],
    *,
    as_json: options.AsJson = False,
) -> None:
    """Check deployment files offline for faults that no schema finds, such as a short grace period.

    Takes Compose files, Kubernetes manifests and the chart of the target helm, which is rendered
    with every environment's values when helm is on the PATH. Exits with 6 when there is an error;
    `trtbuild rules DEP101` explains a rule.
    """
    from trtbuild.cli.output import print_json
    from trtbuild.cli.validate_view import finding_lines
    from trtbuild.errors import ExitCode
    from trtbuild_deploy.jobs import checking

    checked = checking.check(folder)
    if as_json:
        print_json({
            "ok": checked.report.ok,
            "findings": [found.as_dict() for found in checked.findings],
            "looked_at": checked.looked_at,
            "edited": checked.edited,
        })  # fmt: skip
    else:
        for found in checked.findings:
            for line in finding_lines(found):
                typer.echo(line)
        for path in checked.edited:
            typer.echo(f"  edited by hand: {path}")
        verdict = "no errors in" if checked.report.ok else "errors in"
        looked_at = ", ".join(checked.looked_at) or "no file was judged"
        typer.echo(f"{verdict} {folder} ({looked_at})")
    if not checked.report.ok:
        raise typer.Exit(ExitCode.REPOSITORY)


def facts(repo: Repository, *, as_json: options.AsJson = False) -> None:
    """Print the facts that every target is made from, and which metrics exist."""
    from trtbuild.cli.output import human_bytes, print_json
    from trtbuild_deploy.facts import read_facts

    found = read_facts(repo)
    metrics = found.metrics(gateway=True)
    if as_json:
        print_json({"facts": found, "metrics": metrics})
        return
    weights = "from the hub" if found.weight_bytes is None else human_bytes(found.weight_bytes)
    typer.echo(f"{found.repository}: Triton {found.release}, {found.image}")
    for model in found.models:
        stream = "streams" if model.decoupled else "answers once"
        gpus = f"{model.world} GPU{'s' * (model.world != 1)}"
        typer.echo(f"  {model.name}: {model.task}, {model.builder}, {gpus}, {stream}")
    typer.echo(f"  weights {weights}, /dev/shm {human_bytes(found.shm_bytes)}")
    for signal in metrics.signals.values():
        source = f"from {signal.source}" if signal.exists else f"missing: {signal.missing}"
        typer.echo(f"  {signal.name}: {source}")
    for note in (*found.notes, *metrics.unread):
        typer.echo(f"note: {note}", err=True)


def schema() -> None:
    """Print the JSON schema of deploy.yaml."""
    from trtbuild.cli.output import print_json
    from trtbuild_deploy.settings import Settings, schema_of

    print_json(schema_of(Settings))
