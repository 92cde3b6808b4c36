"""Which parameters an endpoint knows: honoured, without effect, or refused by name."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from trtbuild_gateway.failures import ApiError, invalid

Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]],
    Meta(max_length=16),
]
"""Source: openai-python 3.57.0, types/shared_params/metadata.py."""

_Made = TypeVar("_Made")
_LONGEST = 64  # characters of a name that is compared with the known ones


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of one endpoint; see data/parameters.toml."""

    honoured: frozenset[str]
    noted: frozenset[str]
    only: Mapping[str, Mapping[str, Any]]

    @property
    def names(self) -> frozenset[str]:
        """Every known name."""
        return self.honoured | self.noted | self.only.keys()


@cache
def table() -> Mapping[str, Parameters]:
    """Return the parameters by endpoint."""
    text = (files("trtbuild_gateway") / "data" / "parameters.toml").read_text("utf-8")
    return {
        name: Parameters(frozenset(row["honoured"]), frozenset(row["noted"]), row["only"])
        for name, row in tomllib.loads(text).items()
    }


def check(endpoint: str, body: Mapping[str, Any], *, drop: bool = False) -> tuple[str, ...]:
    """Check the names of a request's parameters; return those that are ignored.

    Args:
        endpoint: Its name in the table.
        body: The request, without null values.
        drop: Ignore what would be refused.

    Raises:
        ApiError: A parameter that is unknown or cannot be honoured.
    """
    known = table()[endpoint]
    ignored = []
    for name, value in body.items():
        if name in known.honoured or name in known.noted:
            continue
        if name in known.only and (value in known.only[name]["values"] or value in ([], {})):
            continue
        if not drop:
            raise _refusal(known, name)
        ignored.append(name)
    return tuple(ignored)


def _refusal(known: Parameters, name: str) -> ApiError:
    if name in known.only:
        rule = known.only[name]
        accepted = " or ".join(map(repr, rule["values"]))
        what = f"only {accepted} is accepted" if accepted else "it is not supported"
        message = f"the parameter {name!r}: {what}; {rule['why']}"
        return invalid(message, name, "unsupported_parameter")
    near = difflib.get_close_matches(name[:_LONGEST], known.names, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return invalid(f"unknown parameter {name!r}{hint}", name, "unknown_parameter")


def typed(body: Mapping[str, Any], kind: type[_Made]) -> _Made:
    """Return a request with its types and limits checked.

    Raises:
        ApiError: A value of another type or beyond a limit.
    """
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        raise _type_error(str(error)) from None


def _type_error(message: str) -> ApiError:
    what, _, where = message.partition(" - at `$")
    where = where.rstrip("`").lstrip(".").replace("[...]", "")
    if not where and "missing required field" in message:
        name = message.rpartition("field ")[2].strip("`")
        return invalid(f"the parameter {name!r} is missing", name, "missing_parameter")
    code = "missing_parameter" if "missing required field" in what else "invalid_type"
    return invalid(f"invalid value for {where!r}: {what}", where or None, code)
