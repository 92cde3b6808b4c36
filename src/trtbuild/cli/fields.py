"""Flags made from the fields of a dataclass, so that an option is spelt where it is used.

A field's metadata has what a flag needs beside name, type and default: ``help``, and where wanted
``argument`` (not a flag), ``flag`` (another name), ``short`` (one letter), ``min`` and ``max``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, field, fields
from typing import Annotated, Any, get_origin, get_type_hints

import typer


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
    hints = get_type_hints(cls)
    for one in fields(cls):
        kind, default = hints[one.name], one.default
        if get_origin(kind) is tuple:
            kind, default = list[str] | None, None
        yield inspect.Parameter(
            one.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[kind, _flag(one, hints[one.name])],
        )


def _flag(one: Field[Any], kind: object) -> Any:
    about = one.metadata
    if about.get("argument"):
        return typer.Argument(help=about["help"], show_default=False)
    names = [about["flag"]] if "flag" in about else []
    if kind is bool and not names:  # without a name, typer adds --no-…
        names = [f"--{one.name.replace('_', '-')}"]
    if "short" in about:
        names = [*(names or [f"--{one.name.replace('_', '-')}"]), about["short"]]
    return typer.Option(*names, help=about["help"], min=about.get("min"), max=about.get("max"))


def option(default: Any, help: str, **more: Any) -> Any:
    """Return a field with that default and metadata."""
    return field(default=default, metadata={"help": help, **more})
