"""``trtbuild push``, ``pull`` and ``tag``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trtbuild.cli.options import AsJson

_PUSH = """
Examples

  trtbuild push model_repository oci://ghcr.io/acme/chat:v1

  trtbuild push model_repository s3://models/chat@v1

  trtbuild push model_repository file:///srv/pushed/chat --json

  trtbuild push model_repository mlflow:chat@candidate --benchmark result.json

  trtbuild push model_repository hf://acme/chat-triton@v1

  trtbuild push model_repository oci://registry:5000/chat:v1 --layout modelpack
"""
_PULL = """
Examples

  trtbuild pull oci://ghcr.io/acme/chat:v1 model_repository

  trtbuild pull s3://models/chat@production /srv/models --only smollm2

  trtbuild pull file:///srv/pushed/chat model_repository --force --json
"""
_TAG = """
Examples

  trtbuild tag oci://ghcr.io/acme/chat:v1 --alias production

  trtbuild tag mlflow:chat@candidate --alias production

  trtbuild tag s3://models/chat@sha256:… --alias production
"""
Url = Annotated[str, typer.Argument(help="URL with a tag, such as s3://BUCKET/PATH@TAG.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("push", epilog=_PUSH)(push)
    app.command("pull", epilog=_PULL)(pull)
    app.command("tag", epilog=_TAG)(tag)


def push(
    repo: Annotated[Path, typer.Argument(help="Model repository.")],
    url: Url,
    *,
    edited: Annotated[
        bool,
        typer.Option("--edited", help="Push files that were changed by hand as they are."),
    ] = False,
    layout: Annotated[
        str, typer.Option(help="In an OCI registry: image (default) or modelpack.")
    ] = "",
    benchmark: Annotated[
        list[Path] | None,
        typer.Option(help="Result of trtbuild bench to keep with it, in MLflow; repeatable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Validate a model repository and store it in a registry or an object store."""
    from trtbuild.cli.output import human_bytes, print_json, progress
    from trtbuild_artifacts.jobs.pushing import push as job
    from trtbuild_artifacts.seam import PushOptions

    with progress() as bars:
        done = job(
            repo, url, PushOptions(layout, tuple(benchmark or ())), edited=edited, progress=bars
        )
    if as_json:
        print_json(done)
        return
    typer.echo(f"pushed {done.url}")
    typer.echo(
        f"{human_bytes(done.sent)} sent, {human_bytes(done.present)} were there already", err=True
    )


def pull(
    url: Url,
    directory: Annotated[Path, typer.Argument(help="Directory, new or pulled before.")],
    *,
    only: Annotated[
        list[str] | None, typer.Option(help="Pull this model only; repeatable.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace files that were changed by hand.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch a model repository that was pushed, and verify every file."""
    from trtbuild.cli.output import human_bytes, print_json, progress
    from trtbuild_artifacts.jobs.pulling import pull as job

    with progress() as bars:
        done = job(url, directory, only=only or (), force=force, progress=bars)
    for path in done.edited:
        typer.echo(f"warning: {path} was changed by hand before it was pushed", err=True)
    if done.moved_to:
        typer.echo(
            f"warning: the tag was moved during the pull, to {done.moved_to}; pull again for that",
            err=True,
        )
    if as_json:
        print_json(done)
        return
    typer.echo(f"pulled {done.url} into {done.directory}")
    typer.echo(
        f"{human_bytes(done.received)} received, {human_bytes(done.reused)} were there already",
        err=True,
    )


def tag(
    url: Url,
    *,
    alias: Annotated[str, typer.Option(help="The other name, such as production.")],
    as_json: AsJson = False,
) -> None:
    """Give a pushed model repository another name, such as production."""
    from trtbuild.cli.output import print_json
    from trtbuild_artifacts.jobs.pushing import tag as job

    version = job(url, alias)
    if as_json:
        print_json({"alias": alias, "version": version})
        return
    typer.echo(f"{alias} is {version}")
