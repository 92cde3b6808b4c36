"""``trtbuild models``: list, load, unload and watch models over a gateway's control port."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from trtbuild.cli.values import Program
from trtbuild.errors import ServerError, UsageError

if TYPE_CHECKING:
    from trtbuild.wire.triton_http import TritonHttp

_LIST = """
Examples

  trtbuild models list

  trtbuild models list --url 10.0.0.7:9001 --json
"""
_LOAD = """
Examples

  trtbuild models load smollm2

  trtbuild models load smollm2 --no-warm-up --json
"""
_UNLOAD = """
Examples

  trtbuild models unload smollm2

  trtbuild models unload smollm2 --seconds 0
"""
_WATCH = """
Examples

  trtbuild models watch

  trtbuild models watch --json | jq .state
"""
_SECONDS = 30.0
_POLL_SECONDS = 0.3
_FOR_EVER = 10 * 365 * 86400.0
_VARIABLE = "TRTBUILD_CONTROL_TOKEN"

_Url = Annotated[str, typer.Option(help="Address of the control port.")]
_TokenFile = Annotated[
    Path | None, typer.Option(help=f"File with the token; default: the variable {_VARIABLE}.")
]
_Server = Annotated[
    str, typer.Option(help="Address of the model's server, if several have a model of this name.")
]
_Name = Annotated[str, typer.Argument(metavar="MODEL", help="The model.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_DEFAULT = "127.0.0.1:9001"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = Program(
        help="List, load, unload and watch the models behind a gateway.", no_args_is_help=True
    )
    group.command("list", epilog=_LIST)(list_models)
    group.command("load", epilog=_LOAD)(load)
    group.command("unload", epilog=_UNLOAD)(unload)
    group.command("watch", epilog=_WATCH)(watch)
    app.add_typer(group, name="models")


def list_models(
    *, url: _Url = _DEFAULT, token_file: _TokenFile = None, as_json: _Json = False
) -> None:
    """List the models of the repositories, with what they use."""
    from trtbuild.cli.output import print_json

    found = _ask(url, token_file, "GET", "/v1/model/state")
    if as_json:
        print_json(found)
        return
    _print_table(found["data"])
    for server in found["servers"]:
        if not server["reachable"]:
            typer.echo(f"{server['url']} does not answer: {server['reason']}", err=True)


def load(
    model: _Name,
    *,
    warm_up: Annotated[
        bool | None,
        typer.Option(help="Ask the model for a token first; default: the gateway's setting."),
    ] = None,
    server: _Server = "",
    url: _Url = _DEFAULT,
    token_file: _TokenFile = None,
    as_json: _Json = False,
) -> None:
    """Load or reload a model; if a reload fails, the loaded model keeps serving."""
    body = {"model": model, "server": server, "warm_up": warm_up, "wait": False}
    _do("load", body, url, token_file, as_json=as_json)


def unload(
    model: _Name,
    *,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0, max=3600, help="Time for open requests to end; default: the gateway's."
        ),
    ] = None,
    server: _Server = "",
    url: _Url = _DEFAULT,
    token_file: _TokenFile = None,
    as_json: _Json = False,
) -> None:
    """Unload a model once its open requests have ended or been cancelled."""
    body = {"model": model, "server": server, "seconds": seconds, "wait": False}
    _do("unload", body, url, token_file, as_json=as_json)


def watch(*, url: _Url = _DEFAULT, token_file: _TokenFile = None, as_json: _Json = False) -> None:
    """Print the state of each model, and then each change, until Ctrl-C."""
    from trtbuild.cli.output import json_line
    from trtbuild.wire.blocking import iterate
    from trtbuild.wire.failures import WireError

    try:
        for event in iterate(
            _client(url, token_file).events("GET", "/v1/model/watch", seconds=_FOR_EVER)
        ):
            state = json.loads(event)
            if as_json:
                json_line(state)
            else:
                typer.echo(_line(state))
    except WireError as error:
        raise _unanswered(url, str(error)) from None


def _do(
    action: str, body: Mapping[str, Any], url: str, token_file: Path | None, *, as_json: bool
) -> None:
    """Start a job, tell its phases, and print its end; ServerError if it fails."""
    from trtbuild.cli.output import print_json

    state = _ask(url, token_file, "POST", f"/v1/model/{action}", body)
    job, phase = state["job"]["id"], ""
    where = f"/v1/model/state/{quote(state['id'], safe='')}"
    query = f"?server={quote(state['server'], safe='')}"
    while state["job"]["id"] == job and state["job"]["status"] == "running":
        if state["job"]["phase"] != phase:
            phase = state["job"]["phase"]
            typer.echo(f"{state['id']}: {phase}", err=True)
        time.sleep(_POLL_SECONDS)
        state = _ask(url, token_file, "GET", where + query)
    if "error" in state["job"]:
        raise ServerError(state["job"]["error"]["message"], fix="see its log, then try again")
    if as_json:
        print_json(state)
    else:
        took = state["job"].get("seconds", 0)
        typer.echo(f"{_line(state)}, after {took:.1f} s")


def _ask(
    url: str,
    token_file: Path | None,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
) -> Any:
    """Return the answer of the control port.

    Raises:
        ServerError: It does not answer, or refuses.
    """
    from trtbuild.wire.blocking import run
    from trtbuild.wire.failures import WireError

    sent = json.dumps({k: v for k, v in (body or {}).items() if v is not None}).encode()

    async def ask() -> tuple[bool, bytes]:
        async with _client(url, token_file) as client:
            response = await client.fetch(method, path, sent if body else b"", seconds=_SECONDS)
            return response.good, response.body

    try:
        good, content = run(ask())
        answer = json.loads(content)
        if good:
            return answer
        message = str(answer["error"]["message"])
    except WireError as error:
        raise _unanswered(url, str(error)) from None
    except (ValueError, LookupError, TypeError):
        raise _unanswered(url, "what answers is not a control port") from None
    raise ServerError(message, where=url, fix="see docs/guides/model-control.md")


def _client(url: str, token_file: Path | None) -> TritonHttp:
    from trtbuild.wire.triton_http import TritonHttp

    try:
        token = (
            os.environ.get(_VARIABLE, "")
            if token_file is None
            else token_file.read_text(encoding="utf-8").strip()
        )
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise UsageError(
            f"the token cannot be read: {why}", where=str(token_file), fix="name the file"
        ) from None
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        return TritonHttp(url, headers=headers)
    except ValueError:
        raise UsageError(f"{url!r} is not an address", fix="write HOST:PORT") from None


def _unanswered(url: str, why: str) -> ServerError:
    return ServerError(
        f"no control port answers on {url}: {why}",
        fix="start it with `trtbuild gateway --control-port 9001`, or name it with --url",
    )


def _line(state: Mapping[str, Any]) -> str:
    reason = f" ({state['reason']})" if state.get("reason") else ""
    return f"{state['id']}: {state['state']}{reason}"


def _print_table(rows: list[dict[str, Any]]) -> None:
    from trtbuild.cli.output import print_table

    titles = ("MODEL", "STATE", "VERSIONS", "SERVER", "OPEN", "FIRST TOKEN", "MEMORY")
    print_table(titles, map(_cells, rows), "fold")


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    usage = row.get("usage", {})
    first = usage.get("first_token_seconds")
    memory = usage.get("rss_bytes")
    return (
        row["id"],
        row["state"],
        " ".join(one["version"] for one in row["versions"] if one["state"] == "READY"),
        row["server"],
        str(row["requests_in_flight"]),
        "" if first is None else f"{first['p50'] * 1000:.0f} ms",
        "" if memory is None else f"{memory / 2**20:,.0f} MiB",
    )
