"""Flags made from the fields of a dataclass, so that an option is spelt where it is used.

A field's metadata has what a flag needs beside name, type and default: ``help``, and where wanted
``argument`` (not a flag), ``flag`` (another name), ``short`` (one letter) and :data:`_TYPER`. Or
its type is one of :mod:`trtbuild.cli.options`. A field without a default is required.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, field, fields
from typing import Annotated, Any, get_origin, get_type_hints

import typer

_TYPER = ("help", "min", "max", "metavar", "envvar", "show_default")
"""The keys of a field's metadata that Typer knows by the same name."""


def from_fields(*classes: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator: the command has a parameter for each field of ``classes``, in order, and the
    function is called with one object of each class."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        def command(**values: Any) -> None:
            function(*(_made(made, values) for made in classes))

        parameters = [parameter for made in classes for parameter in _parameters(made)]
        command.__doc__ = function.__doc__
        command.__name__ = function.__name__
        command.__annotations__ = {one.name: one.annotation for one in parameters}
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return command

    return decorate


def _made(cls: type, values: Mapping[str, Any]) -> Any:
    given = {one.name: values[one.name] for one in fields(cls)}
    return cls(
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in given.items()
            if value is not None  # a list without values: the field has its own default
        }
    )


def _parameters(cls: type) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(cls, include_extras=True)
    for one in fields(cls):
        kind, default = hints[one.name], one.default
        if get_origin(kind) is tuple:
            kind, default = list[str] | None, None
        if get_origin(kind) is not Annotated:
            kind = Annotated[kind, _flag(one, hints[one.name])]
        if default is MISSING:
            default = inspect.Parameter.empty
        keyword = inspect.Parameter.KEYWORD_ONLY
        yield inspect.Parameter(one.name, keyword, default=default, annotation=kind)


def _flag(one: Field[Any], kind: object) -> Any:
    about: dict[str, Any] = {key: one.metadata[key] for key in _TYPER if key in one.metadata}
    if one.metadata.get("argument"):
        return typer.Argument(**({"show_default": False} | about))
    flag, short = one.metadata.get("flag", ""), one.metadata.get("short", "")
    if not flag and (short or kind is bool):  # without a name, typer adds --no-…
        flag = f"--{one.name.replace('_', '-')}"
    return typer.Option(*filter(None, (flag, short)), **about)


def option(default: Any, help: str, **more: Any) -> Any:
    """Return a field with that default and metadata."""
    return field(default=default, metadata={"help": help, **more})
