"""Engine arguments as the shipped tables describe them, and objects of arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class EngineArgument:
    """One argument, or one field of an object argument.

    Attributes:
        name: Its name, as in ``model.json`` or ``model.yaml``.
        types: JSON types it accepts (bool, int, float, str, list, dict, any), without ``null``.
        nullable: Whether null is allowed.
        default: Its default if that is a literal, else None (see ``has_default``).
        has_default: Whether ``default`` is known.
        choices: The allowed values; empty: any of its types.
        fold: Whether choices are compared without regard to case.
        minimum, maximum: Inclusive bounds of a number.
        above, below: Exclusive bounds of a number.
        items: The type of each item of a list; None for anything.
        least: Minimum number of items of a list.
        required: Whether the object must have it.
        refused: Why a configuration file cannot set it; empty if it can.
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
    """An object argument, such as ``kv_cache_config``.

    Attributes:
        variants: Its kinds, each with its fields. Most groups have one kind, under "".
        selector: The field that chooses the kind (``decoding_type``), empty for one kind.
        refused: Kinds that a file cannot request, and why.
        one_of: Fields of a kind of which one is required.
    """

    variants: Mapping[str, Mapping[str, EngineArgument]]
    selector: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)
    one_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Arguments(Protocol):
    """A release's table: its arguments, and the fields of object arguments."""

    @property
    def arguments(self) -> Mapping[str, EngineArgument]:
        """By name."""

    @property
    def groups(self) -> Mapping[str, ArgumentGroup]:
        """By dotted name."""


def argument_of(name: str, row: Mapping[str, Any]) -> EngineArgument:
    """Return an argument from a row of a table."""
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
    """Return the arguments of a table, by name."""
    return {name: argument_of(name, row) for name, row in rows.items()}


def groups_of(rows: Mapping[str, Any]) -> dict[str, ArgumentGroup]:
    """Return the object arguments of a table, by dotted name."""
    return {
        path: ArgumentGroup(
            {kind: arguments_of(fields) for kind, fields in row["variants"].items()},
            row.get("selector", ""),
        )
        for path, row in rows.items()
    }
