"""A Typer program that takes text and paths as they are.

Typer converts every value with a pydantic adapter, and importing pydantic takes a third of the time
that validating a repository takes. Text is text already, and a path is one call. Whatever needs
more, and whatever Typer would refuse, goes to Typer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup

_CHECKS = {
    "exists": False,
    "file_okay": True,
    "dir_okay": True,
    "writable": False,
    "resolve_path": False,
    "allow_dash": False,
    "path_type": None,
    "parser": None,
}
"""What an option can ask Typer to check or change, with the value that asks for nothing."""


class _Plain:
    """What both kinds of commands do with their own text and paths: they take them as they are."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line; UsageError for what the command does not take."""
        try:
            return super().parse_args(ctx, args)  # type: ignore[misc, no-any-return]
        except Exception as error:
            if not hasattr(error, "format_message"):  # Typer does not export its errors' base
                raise
            from trtbuild.cli.usage import refusal

            raise refusal(error, ctx) from None

    def get_params(self, ctx: Any) -> list[Any]:
        """The options and arguments, ``--help`` among them."""
        return [_light(param) for param in super().get_params(ctx)]  # type: ignore[misc]


class Command(_Plain, TyperCommand):
    """A command whose text and paths are taken as they are."""


class Group(_Plain, TyperGroup):
    """A group of commands whose own text and paths are taken as they are."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the first word names; UsageError if there is none."""
        if not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            from trtbuild.cli.usage import unknown_command

            raise unknown_command(args[0], ctx.command_path, self.list_commands(ctx))
        return super().resolve_command(ctx, args)


def group_with_default(name: str) -> type[Group]:
    """A group in which words that do not begin with one of its commands are those of ``name``."""

    class WithDefault(Group):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            if args and args[0] not in (*self.commands, "-h", "--help"):
                args = [name, *args]
            return super().parse_args(ctx, args)

    return WithDefault


class Program(typer.Typer):
    """A program made of :class:`Command` and :class:`Group`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"cls": Group} | settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[..., Any]:
        """Add a command, as Typer does."""
        return super().command(name, **{"cls": Command} | settings)


class _UnknownError(Exception):
    """Only Typer knows what to make of this value."""


def _light(param: Any) -> Any:
    if "process_value" not in vars(param):
        param.process_value = partial(_process, param, param.process_value)
    return param


def _process(param: Any, by_typer: Callable[[Any, Any], Any], context: Any, value: Any) -> Any:
    try:
        value = _plain(param, value)
    except _UnknownError:
        return by_typer(context, value)
    return param.callback(context, param, value) if param.callback else value


def _plain(param: Any, value: Any) -> Any:
    descriptor = getattr(param, "type_descriptor", None)
    if descriptor is None or (param.required and not value):
        raise _UnknownError
    several = getattr(param, "multiple", False) or param.nargs == -1
    if value is None:
        return () if several else None
    kind = descriptor.annotation
    if not several:
        return _one(value, kind, descriptor.parameter_info)
    if get_origin(kind) is not list:
        raise _UnknownError
    return [_one(item, get_args(kind)[0], descriptor.parameter_info) for item in value]


def _one(value: Any, kind: Any, info: Any) -> Any:
    if any(getattr(info, name, plain) != plain for name, plain in _CHECKS.items()):
        raise _UnknownError
    if kind is not Path and type(value) is kind:
        return value
    if kind is Path and isinstance(value, str | Path) and _readable(Path(value)):
        return Path(value)
    if kind is float and type(value) is int:  # the default of an option in seconds
        return float(value)
    raise _UnknownError


def _readable(path: Path) -> bool:
    """Whether Typer would find nothing wrong: it refuses a file that exists and cannot be read."""
    try:
        return os.access(path, os.R_OK) or not path.exists()
    except OSError:  # such as a name that is too long, which the command reports
        return True
