"""``trtbuild explain``: why a server failed, from its log."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trtbuild.cli import options

if TYPE_CHECKING:
    from rich.text import Text

    from trtbuild.explain import Explanation, Reason

_EPILOG = """
Examples

  trtbuild explain

  trtbuild explain server.log --repository model_repository

  kubectl logs triton-0 | trtbuild explain -

  trtbuild explain --container triton --json
"""
_MAX_BYTES = 256 << 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain", epilog=_EPILOG)(explain)


def explain(
    log: Annotated[
        str,
        typer.Argument(
            help="Log of Triton or TensorRT-LLM, or - for standard input; default: the log of "
            "the last server that trtbuild started."
        ),
    ] = "",
    *,
    repository: Annotated[
        Path | None,
        typer.Option(
            "--repository",
            "--repo",
            help="Repository that was served; adds the file and line of the fix.",
        ),
    ] = None,
    container: Annotated[
        str, typer.Option(help="Read the log of this docker or podman container.")
    ] = "",
    as_json: options.AsJson = False,
) -> None:
    """Explain why a server failed: the root cause, its log line, and the fix."""
    from trtbuild.cli.output import print_json
    from trtbuild.errors import UsageError
    from trtbuild.explain import explain as explain_log

    if repository is not None and not repository.is_dir():
        raise UsageError(
            f"the repository {str(repository)!r} does not exist",
            fix="give the directory that was served, or leave --repository out",
        )
    found = explain_log(_read(log, container), repository)
    if as_json:
        print_json(
            {
                "ok": found.ok,
                "reasons": found.reasons,
                "hints": found.hints,
                "follows": found.follows,
            }
        )
    else:
        _print(found)


def _read(log: str, container: str) -> list[str]:
    from trtbuild.errors import UsageError

    if log and container:
        raise UsageError("a log and --container cannot be combined", fix="give one of them")
    if container:
        from trtbuild.server import docker

        return docker.log(container).splitlines()
    if log == "-":
        return sys.stdin.buffer.read(_MAX_BYTES).decode("utf-8", "replace").splitlines()
    if not log:
        from trtbuild.server import latest_log

        return _file(latest_log())
    return _file(Path(log))


def _file(path: Path) -> list[str]:
    """The end of a log, where a failed start is; of a long one the beginning is dropped."""
    from trtbuild.errors import UsageError

    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _MAX_BYTES))
            return stream.read(_MAX_BYTES).decode("utf-8", "replace").splitlines()
    except OSError as error:
        raise UsageError(
            f"the log {str(path)!r} cannot be read: {error.strerror}",
            fix="give a log file, - for standard input, or --container NAME",
        ) from None


def _print(explanation: Explanation) -> None:
    from rich.text import Text

    from trtbuild.cli.output import console

    out = console()
    if explanation.ok:
        out.print("the log shows no failure that trtbuild knows")
        return
    for number, reason in enumerate(explanation.reasons):
        head = "root cause: " if number == 0 else "also: "
        for line in _lines(reason, head, "bold red"):
            out.print(line)
    for hint in explanation.hints:
        for line in _lines(hint, "note: ", "yellow"):
            out.print(line)
    if explanation.reasons and explanation.follows:
        names = ", ".join(dict.fromkeys(one.model or one.title for one in explanation.follows))
        out.print(Text.assemble(("consequences: ", "dim"), names))
    if not explanation.reasons:
        out.print("the log shows consequences but no cause: pass the log from the server's start")
        for follow in explanation.follows:
            for line in _lines(follow, "consequence: ", "yellow"):
                out.print(line)


def _lines(reason: Reason, head: str, style: str) -> list[Text]:
    from rich.text import Text

    of = f" ({reason.model})" if reason.model else ""
    lines = [Text.assemble((head, style), f"{reason.title}{of}")]
    where = f"log line {reason.log_line}: " if reason.log_line else "log: "
    lines.append(Text.assemble(("  ", ""), (where, "dim"), (reason.message, "italic")))
    rule = f"{reason.rule} (trtbuild validate)" if reason.rule else ""
    if reason.place:
        rule = f" ({reason.rule})" if reason.rule else ""
        lines.append(Text.assemble(("  at: ", "dim"), reason.place, rule))
    elif rule:
        lines.append(Text.assemble(("  rule: ", "dim"), rule))
    lines.append(Text.assemble(("  fix: ", "green"), reason.fix))
    lines += [Text.assemble(("  known as: ", "dim"), address) for address in reason.known_as]
    return lines
