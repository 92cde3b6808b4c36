"""The ``trtbuild`` program: its commands, and the one place where errors become exit codes."""

from __future__ import annotations

import errno
import gc
import sys
from typing import Annotated, NoReturn

import typer

from trtbuild import __version__
from trtbuild.cli.commands import Commands
from trtbuild.cli.signals import leave_nothing_behind
from trtbuild.cli.streams import steady
from trtbuild.errors import BuildError, ExitCode, TrtbuildError

app = typer.Typer(
    name="trtbuild",
    cls=Commands,
    help="From a Hugging Face checkpoint to a validated, served and measured Triton deployment.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"trtbuild {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; every outcome has the exit code of :class:`ExitCode`."""
    gc.set_threshold(100_000)  # or Python looks for garbage a hundred times while modules load
    steady()
    leave_nothing_behind()
    try:
        app(prog_name="trtbuild")
    except TrtbuildError as error:
        from trtbuild.cli.output import print_error

        print_error(error, as_json="--json" in sys.argv[1:])
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _exit_interrupted()
    except SystemExit as stop:
        # Typer turns Ctrl-C inside a command into this code, without a word.
        if stop.code == ExitCode.INTERRUPTED:
            _exit_interrupted()
        raise
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(ExitCode.OK)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            sys.exit(_disk_full(error))
        _report_bug(error)
        sys.exit(ExitCode.BUG)


def _exit_interrupted() -> NoReturn:
    from trtbuild.cli.output import say

    say("interrupted")
    sys.exit(ExitCode.INTERRUPTED)


def _disk_full(error: OSError) -> ExitCode:
    """Print what is full; without a name it is what standard output goes to."""
    from trtbuild.cli.output import print_error

    what = f"{error.filename or 'the output'} cannot be written: {error.strerror}"
    print_error(BuildError(what, fix="make room there, or write to another disk"))
    return BuildError.exit_code


def _report_bug(error: Exception) -> None:
    """Print whose fault this is, trtbuild's or a plug-in's, and where the traceback went."""
    import tempfile
    import traceback

    from trtbuild.cli.output import print_error

    text = f"trtbuild {__version__}\n{sys.version}\n\n{traceback.format_exc()}"
    try:
        with tempfile.NamedTemporaryFile(prefix="trtbuild-", suffix=".log", delete=False) as log:
            log.write(text.encode("utf-8", "backslashreplace"))
        kept = f"the file {log.name}"
    except OSError as full:
        kept = f"this message; its details could not be written: {full.strerror}"
    what, fix = "this is a bug in trtbuild", f"please report it with {kept}"
    if plugin := _plugin_in(error):
        what = f"the plug-in {plugin} failed"
        fix = f"uninstall it, or report it to its authors with {kept}"
    print_error(TrtbuildError(f"{what}: {type(error).__name__}: {error}", fix=fix))


def _plugin_in(error: Exception) -> str:
    """The distribution of a plug-in whose code an error came through; empty for trtbuild's own."""
    from importlib.metadata import entry_points
    from traceback import walk_tb

    names = (str(frame.f_globals.get("__name__")) for frame, _ in walk_tb(error.__traceback__))
    packages = {name.partition(".")[0] for name in names}
    for kind in ("builders", "checkpoints", "commands", "dialects", "rules"):
        for point in entry_points(group=f"trtbuild.{kind}.v1"):
            dist = point.dist
            guilty = point.module.partition(".")[0] in packages
            if guilty and dist is not None and dist.name != "trtbuild":
                return f"{dist.name} {dist.version}"
    return ""
