"""An argument of an engine as the shipped tables describe it, and objects of such arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class EngineArgument:
    """One argument, or one field of an argument that is an object.

    Attributes:
        name: Its name, as in ``model.json`` or ``model.yaml``.
        types: JSON types it takes (bool, int, float, str, list, dict, any); ``null`` is apart.
        nullable: Whether null may be given.
        default: Its default when that is a literal, else None (see ``has_default``).
        has_default: Whether ``default`` is known.
        choices: The values allowed, empty when any of its types will do.
        fold: Choices are names that are compared without regard to case.
        minimum, maximum: Bounds of a number, which are allowed themselves.
        above, below: Bounds of a number, which are not.
        items: What each item of a list must be; None for anything.
        least: How many items a list must have.
        required: The object cannot do without it.
        refused: Why no value of a configuration file can be right; empty when one can.
    """

    name: str
    types: tuple[str, ...]
    nullable: bool = False
    default: Any = None
    has_default: bool = False
    choices: tuple[Any, ...] = ()
    fold: bool = False
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    items: EngineArgument | None = None
    least: int = 0
    required: bool = False
    refused: str = ""


@dataclass(frozen=True, slots=True)
class ArgumentGroup:
    """An argument that is an object, such as ``kv_cache_config``.

    Attributes:
        variants: Its possible kinds, each with its fields. Most groups have one kind, under "".
        selector: The field whose value chooses the kind (``decoding_type``), empty for one kind.
        refused: Kinds that no file can ask for, and why.
        one_of: Fields of a kind of which one must be there.
    """

    variants: Mapping[str, Mapping[str, EngineArgument]]
    selector: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)
    one_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Arguments(Protocol):
    """A release's table: its arguments, and the fields of those that are objects."""

    @property
    def arguments(self) -> Mapping[str, EngineArgument]:
        """By name."""

    @property
    def groups(self) -> Mapping[str, ArgumentGroup]:
        """By dotted name."""


def argument_of(name: str, row: Mapping[str, Any]) -> EngineArgument:
    """An argument from a row of a table."""
    return EngineArgument(
        name=name,
        types=tuple(row["types"]),
        nullable=row.get("null", False),
        default=row.get("default"),
        has_default="default" in row,
        choices=tuple(row.get("choices", ())),
        fold=row.get("fold", False),
        minimum=row.get("min"),
        maximum=row.get("max"),
        above=row.get("above"),
        below=row.get("below"),
        items=argument_of(name, row["items"]) if "items" in row else None,
        least=row.get("least", 0),
        required=row.get("required", False),
        refused=row.get("refused", ""),
    )


def arguments_of(rows: Mapping[str, Any]) -> dict[str, EngineArgument]:
    """The arguments of a table, by name."""
    return {name: argument_of(name, row) for name, row in rows.items()}


def groups_of(rows: Mapping[str, Any]) -> dict[str, ArgumentGroup]:
    """The objects of a table, by dotted name."""
    return {
        path: ArgumentGroup(
            {kind: arguments_of(fields) for kind, fields in row["variants"].items()},
            row.get("selector", ""),
        )
        for path, row in rows.items()
    }
