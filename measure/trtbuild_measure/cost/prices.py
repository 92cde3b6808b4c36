"""The dated table of prices (``data/prices.toml``)."""

from __future__ import annotations

import difflib
import math
import tomllib
from dataclasses import dataclass
from functools import cache
from typing import Any

from trtbuild.errors import UsageError
from trtbuild_measure.resources import data_file


class _Quoted:
    """A price that was read somewhere."""

    __slots__ = ()
    date: str
    source: str
    secondary: bool

    @property
    def provenance(self) -> str:
        """Date and source, and whether that is the provider's own page."""
        return f"{self.date}; {self.source}{', not the provider itself' if self.secondary else ''}"


@dataclass(frozen=True, slots=True)
class GpuPrice(_Quoted):
    """One GPU for an hour, in US dollars; ``secondary``: not read on the provider's own page."""

    name: str
    usd_per_hour: float
    offer: str
    date: str
    source: str
    secondary: bool = False


@dataclass(frozen=True, slots=True)
class ApiPrice(_Quoted):
    """A million tokens of an API, in US dollars; ``secondary`` as for a GPU."""

    name: str
    input: float
    output: float
    date: str
    source: str
    secondary: bool = False


@cache
def _table() -> dict[str, list[dict[str, Any]]]:
    return tomllib.loads(data_file("prices.toml").read_text(encoding="utf-8"))


def gpu_prices() -> tuple[GpuPrice, ...]:
    """Every GPU with a price."""
    return tuple(GpuPrice(**row) for row in _table()["gpu"])


def api_prices() -> tuple[ApiPrice, ...]:
    """Every API model with a price."""
    return tuple(ApiPrice(**row) for row in _table()["api"])


def gpu_price(name: str) -> GpuPrice:
    """The price of a GPU of the table of GPUs.

    Raises:
        UsageError: None is known.
    """
    for row in gpu_prices():
        if row.name == name:
            return row
    known = ", ".join(row.name for row in gpu_prices())
    raise UsageError(
        f"unknown price of {name!r}", fix=f"give one with --gpu-price; known are {known}"
    )


def api_price(text: str) -> ApiPrice:
    """The price of an API's model, or one's own as ``INPUT/OUTPUT`` dollars a million tokens.

    Raises:
        UsageError: Neither.
    """
    for row in api_prices():
        if row.name == text:
            return row
    parts = text.split("/")
    try:
        given, made = (float(part) for part in parts)
    except ValueError:
        names = [row.name for row in api_prices()]
        near = difflib.get_close_matches(text, names, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(
            f"unknown API price {text!r}",
            fix=f"{hint}known are {', '.join(names)}, or write INPUT/OUTPUT such as 0.15/0.60",
        ) from None
    if given < 0 or made < 0:
        raise UsageError(f"{text!r} is a negative price", fix="write INPUT/OUTPUT, 0.15/0.60")
    if not math.isfinite(given + made):
        raise UsageError(f"{text!r} is not a price", fix="write INPUT/OUTPUT, 0.15/0.60")
    return ApiPrice(text, given, made, "given", "--api-price")
