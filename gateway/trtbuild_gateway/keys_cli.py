"""``trtbuild keys``: the gateway's API keys."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trtbuild.cli.values import Program
from trtbuild.errors import UsageError

if TYPE_CHECKING:
    from trtbuild_gateway.access.keys import Key

_ADD = """
Examples

  trtbuild keys add support-bot

  trtbuild keys add ci --models 'test-*' --expires 90d --requests-per-minute 60

  trtbuild keys add dashboard --endpoints /metrics --json
"""
_LIST = """
Examples

  trtbuild keys list

  trtbuild keys list --file /etc/trtbuild/keys.json --json
"""
_ROTATE = """
Examples

  trtbuild keys rotate support-bot

  trtbuild keys rotate 3f9ac1d20b77 --grace 1h
"""
_REVOKE = """
Examples

  trtbuild keys revoke support-bot
"""
_NAME = r"[\w.@-]{1,64}"

_File = Annotated[Path, typer.Option("--file", "-f", help="The keys file.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Which = Annotated[str, typer.Argument(help="Id or name of the key.")]
_DEFAULT = Path("keys.json")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = Program(
        help="Add, list, rotate and revoke the gateway's API keys.", no_args_is_help=True
    )
    group.command("add", epilog=_ADD)(add)
    group.command("list", epilog=_LIST)(list_keys)
    group.command("rotate", epilog=_ROTATE)(rotate)
    group.command("revoke", epilog=_REVOKE)(revoke)
    app.add_typer(group, name="keys")


def add(
    name: Annotated[str, typer.Argument(help="Its name, such as a team or a program.")],
    *,
    file: _File = _DEFAULT,
    models: Annotated[
        list[str] | None, typer.Option(help="Glob of models that it may use (all); repeatable.")
    ] = None,
    endpoints: Annotated[
        list[str] | None, typer.Option(help="Glob of paths that it may call (all); repeatable.")
    ] = None,
    admin: Annotated[
        bool, typer.Option("--admin", help="It may also load and unload models.")
    ] = False,
    expires: Annotated[
        str, typer.Option(help="Valid for 30m, 12h, 90d, 8w, or until 2027-01-31.")
    ] = "",
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Requests in any 60 seconds.")
    ] = None,
    requests_per_day: Annotated[
        int | None, typer.Option(min=1, help="Requests in any 24 hours.")
    ] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Tokens of prompts and answers in any 60 seconds.")
    ] = None,
    tokens_per_day: Annotated[
        int | None, typer.Option(min=1, help="Tokens of prompts and answers in any 24 hours.")
    ] = None,
    concurrent: Annotated[
        int | None, typer.Option(min=1, help="Requests that are open at the same time.")
    ] = None,
    masking: Annotated[
        str, typer.Option(help="Set of masking rules in gateway.yaml (default).")
    ] = "",
    as_json: _Json = False,
) -> None:
    """Add a key and print it: the file keeps only its SHA-256."""
    from trtbuild_gateway.access.keys import Key, Secret, digest_of, new_key
    from trtbuild_gateway.access.spans import until
    from trtbuild_gateway.access_settings import Limits

    if not re.fullmatch(_NAME, name):
        raise UsageError(
            f"{name!r} cannot be a name of a key", fix="use up to 64 letters, digits and . _ @ -"
        )
    now = _now()
    limits = Limits(
        requests_per_minute, requests_per_day, tokens_per_minute, tokens_per_day, concurrent
    )
    id, text = new_key()
    made = Key(
        id,
        name,
        now,
        (Secret(digest_of(text), now),),
        models=tuple(models or ("*",)),
        endpoints=tuple(endpoints or ("*",)),
        admin=admin,
        expires=until(expires, now) if expires else None,
        limits=None if limits == Limits() else limits,
        masking=masking,
    )
    with _changed(file, new=True) as keys:
        if any(key.name == name and key.state(now) == "valid" for key in keys.values()):
            raise UsageError(
                f"{file} has a valid key named {name!r}",
                fix=f"take another name, or `trtbuild keys rotate {name}` for a new secret",
            )
        keys[id] = made
    _print_secret(made, text, as_json=as_json)


def list_keys(*, file: _File = _DEFAULT, as_json: _Json = False) -> None:
    """List the keys with their scopes, limits and expiry, without their secrets."""
    from trtbuild.cli.output import print_json
    from trtbuild_gateway.access.keys import read_keys

    rows = [key.described(_now()) for key in read_keys(file).values()]
    if as_json:
        print_json(rows)
    elif not rows:
        typer.echo(f"{file} has no keys; `trtbuild keys add NAME` makes one", err=True)
    else:
        _print_table(rows)


def rotate(
    which: _Which,
    *,
    file: _File = _DEFAULT,
    grace: Annotated[
        str, typer.Option(help="How long the old secret stays valid: 0s, 1h, 7d.")
    ] = "24h",
    as_json: _Json = False,
) -> None:
    """Give a key a new secret and print it; the old one stays valid for a while."""
    from trtbuild_gateway.access.keys import new_key, rotated
    from trtbuild_gateway.access.spans import span_of

    now, span = _now(), span_of(grace)
    with _changed(file) as keys:
        key = _found(keys, which, file)
        if key.state(now) != "valid":
            raise UsageError(
                f"the key {key.id} ({key.name}) is {key.state(now)}",
                fix=f"make a new one with `trtbuild keys add {key.name}`",
            )
        _, text = new_key(key.id)
        keys[key.id] = made = rotated(key, text, now, span)
    _print_secret(made, text, as_json=as_json)


def revoke(which: _Which, *, file: _File = _DEFAULT, as_json: _Json = False) -> None:
    """Make a key invalid at once, with all its secrets."""
    import msgspec

    from trtbuild.cli.output import print_json

    with _changed(file) as keys:
        key = _found(keys, which, file)
        if key.revoked is None:
            key = keys[key.id] = msgspec.structs.replace(key, revoked=_now())
    if as_json:
        print_json(key.described(_now()))
    else:
        typer.echo(f"revoked {key.id} ({key.name}); a running gateway knows within a second")


@contextlib.contextmanager
def _changed(file: Path, *, new: bool = False) -> Iterator[dict[str, Key]]:
    """Yield the keys, and write them at the end; one process at a time."""
    from trtbuild.files import exclusive
    from trtbuild_gateway.access.keys import read_keys, write_keys

    folder = file.resolve().parent
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a directory", fix="make it, or name another --file")
    with exclusive(folder):
        keys = {} if new and not file.exists() else read_keys(file)
        yield keys
        write_keys(file, list(keys.values()))


def _found(keys: dict[str, Key], which: str, file: Path) -> Key:
    if which in keys:
        return keys[which]
    now = _now()
    named = [key for key in keys.values() if key.name == which]
    named = [key for key in named if key.state(now) == "valid"] or named
    if len(named) == 1:
        return named[0]
    if named:
        ids = ", ".join(key.id for key in named)
        raise UsageError(f"several keys are named {which!r}: {ids}", fix="give the id")
    raise UsageError(
        f"{file} has no key {which!r}", fix=f"`trtbuild keys list --file {file}` shows them"
    )


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _print_secret(key: Key, text: str, *, as_json: bool) -> None:
    from trtbuild.cli.output import print_json

    if as_json:
        print_json({**key.described(_now()), "key": text})
        return
    typer.echo(text)
    typer.echo(f"the key of {key.name}, id {key.id}: it is not shown again", err=True)
    for secret in key.secrets[1:]:
        typer.echo(f"the old secret is valid until {secret.expires:%Y-%m-%d %H:%M} UTC", err=True)


def _print_table(rows: list[dict[str, Any]]) -> None:
    from trtbuild.cli.output import print_table

    titles = ("ID", "NAME", "STATE", "EXPIRES", "MODELS", "ENDPOINTS", "LIMITS")
    print_table(titles, map(_cells, rows), "fold")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    limits = ", ".join(f"{name} {value:,}" for name, value in row["limits"].items())
    admin = ["admin"] if row["admin"] else []
    return (
        row["id"],
        row["name"],
        row["state"],
        (row["expires"] or "never")[:10],
        " ".join(row["models"]),
        " ".join([*row["endpoints"], *admin]),
        limits.replace("_", " ") or "none",
    )
