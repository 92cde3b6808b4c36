"""The commands by name: the program's own, and those of plug-ins.

``trtbuild --help`` prints one line for each command and imports none of them: a command is imported
when it runs. So the lines of the program's own commands are here, and a plug-in gives its line in
its :class:`Command`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint
from typing import Any

import typer

from trtbuild.cli.values import Group, Program
from trtbuild.errors import ExitCode, UsageError
from trtbuild.plugins import is_own, points, source_of

ENTRY_POINT_GROUP = "trtbuild.commands.v1"

_SUMMARIES = {
    "up": "Convert, validate, serve and query a checkpoint; stop with Ctrl-C.",
    "inspect": "Describe a checkpoint: architecture, size, quantization, context, KV cache.",
    "plan": "Show which builder fits and why, the steps, and whether the model fits the GPU.",
    "convert": "Convert a checkpoint into a model repository, completely or not at all.",
    "validate": "Check model repositories without a server: if this passes, Triton loads them.",
    "rules": "List the validator's rules, or explain one with examples.",
    "explain": "Explain why a server failed: the root cause, its log line, and the fix.",
    "serve": "Serve a model repository until Ctrl-C (exit code 0), or in the background.",
    "infer": "Send a request to a served model and print its answer, text as it is generated.",
    "status": "List the servers that trtbuild started, and whether their models answer.",
    "logs": "Print a server's log, even after the server has ended.",
    "stop": "Stop a server; only its log is kept.",
    "list": "List the models of a repository: where they came from, what serves them, their size.",
    "show": "Show a model's tensors and parameters, and client code that is ready to run.",
    "remove": "Remove a model: its directories and its lock entry, atomically.",
    "runtime": "Install, inspect and remove the embedded server and other tools.",
    "doctor": "Check Python, disk, shared memory, ports, GPU, containers, hub and runtime.",
    "builders": "List the builders, built-in and plug-ins, with the reasons against each.",
    "schema": "Print the JSON schema of trtbuild.yaml.",
    "toolchains": "List the Triton releases and the versions in their images, or one release "
    "in detail.",
}


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the program. An entry point of :data:`ENTRY_POINT_GROUP` is one of these.

    Attributes:
        name: What a user types.
        summary: Its line in ``trtbuild --help``: the first sentence of its own help.
        module: The module with ``register(app)``, which adds the command to a Typer program.
        source: The distribution that brings it; empty for the program's own.
        problem: Why the plug-in cannot be loaded; empty if it can.
        after: The command that it is listed after, among the program's own; empty: it is listed
            with the plug-ins.
    """

    name: str
    summary: str
    module: str
    source: str = ""
    problem: str = ""
    after: str = ""


OWN = tuple(Command(name, text, f"trtbuild.cli.{name}") for name, text in _SUMMARIES.items())
"""The program's own commands, in the order of ``trtbuild --help``."""


@cache
def plugins() -> tuple[Command, ...]:
    """The commands of the plug-ins, by name; a broken one carries its problem.

    The program's own command wins over a plug-in's of the same name, and one that trtbuild itself
    brings over another package's.
    """
    found: dict[str, EntryPoint] = {}
    for point in points(ENTRY_POINT_GROUP):
        if point.name not in _SUMMARIES:
            found.setdefault(point.name, point)
    return tuple(_loaded(found[name]) for name in sorted(found))


def _loaded(point: EntryPoint) -> Command:
    source = source_of(point)
    broken = Command(point.name, "", "", source)
    try:
        command = point.load()
    except (Exception, SystemExit) as error:  # a third party's plug-in may raise anything
        if is_own(point):
            raise
        return replace(broken, problem=f"{type(error).__name__}: {error}")
    if not isinstance(command, Command) or command.name != point.name:
        return replace(broken, problem=f"{point.value} must be a Command named {point.name!r}")
    texts = (command.summary, command.module, command.after)
    if not all(isinstance(text, str) for text in texts):
        return replace(broken, problem=f"summary and module of {point.value} must be text")
    return replace(command, source="" if is_own(point) else source)


def listed() -> tuple[Command, ...]:
    """The commands that ``trtbuild --help`` lists as the program's, in its order: its own, and
    those that plug-ins place after one of them."""
    return tuple(command for own in OWN for command in _with_followers(own))


def _with_followers(command: Command) -> Iterator[Command]:
    yield command
    for each in plugins():
        if each.after == command.name:
            yield from _with_followers(each)


def find(name: str) -> Command | None:
    """The command of that name. Plug-ins are looked for only when the program has none."""
    own = next((command for command in OWN if command.name == name), None)
    return own or next((command for command in plugins() if command.name == name), None)


class _Lazy(MutableMapping[str, Any]):
    """Commands by name: those made already, and the others, each made when it is asked for."""

    def __init__(self, commands: MutableMapping[str, Any], settings: dict[str, Any]) -> None:
        self._made = commands
        self._settings = settings

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            command = find(name)
            if command is None:
                raise KeyError(name)
            self._made[name] = _made(command, self._settings)
        return self._made[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        del self._made[name]

    def __iter__(self) -> Iterator[str]:
        names = (command.name for command in (*listed(), *plugins()))
        return iter(dict.fromkeys([*names, *self._made]))

    def __len__(self) -> int:
        return len(list(iter(self)))


def _made(command: Command, settings: dict[str, Any]) -> Any:
    """The command as Typer runs it.

    Raises:
        UsageError: It belongs to a plug-in that cannot be loaded.
    """
    program = Program(rich_markup_mode="rich", context_settings=settings)
    program.callback()(_nothing)  # so that one command alone is a group, too
    problem = command.problem
    if not problem:
        try:
            importlib.import_module(command.module).register(program)
            return typer.main.get_group(program).commands[command.name]
        except (Exception, SystemExit) as error:
            if not command.source:
                raise
            problem = f"{type(error).__name__}: {error}"
    raise UsageError(
        f"the command {command.name!r} of {command.source} cannot be loaded: {problem}",
        fix="update or uninstall that package; the other commands work without it",
    )


def _nothing() -> None:
    pass


class Commands(Group):
    """The program: makes a command when it is asked for, prints its help without making any."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Lazy(self.commands, dict(self.context_settings))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Without arguments the help is printed, and it is a usage error."""
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help())
            ctx.exit(ExitCode.USAGE)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The summaries as plain text: Rich takes longer to import than all else to run."""
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        self.format_options(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - Typer's own form
        """The program's commands, then the other ones of plug-ins, broken ones among them."""
        own = listed()
        with formatter.section("Commands"):
            formatter.write_dl([(command.name, command.summary) for command in own])
        if others := [command for command in plugins() if command not in own]:
            with formatter.section("Plug-in commands"):
                formatter.write_dl([(command.name, _line(command)) for command in others])


def _line(command: Command) -> str:
    if not command.problem:
        return command.summary
    return f"{command.source} cannot be loaded: {command.problem}"
