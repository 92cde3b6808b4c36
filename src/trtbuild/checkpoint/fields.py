"""Read ``config.json`` under several spellings, with nested parts and families' defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from trtbuild.checkpoint import families
from trtbuild.errors import UnsupportedError
from trtbuild.wire.syntax import number

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def language_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``config.json`` of the language model alone, with nested keys at the top."""
    fields = Fields(config)
    return {**(fields.defaults if fields.is_nested else _NOTHING), **fields.values}


class Fields:
    """The configuration of a checkpoint's language model."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.top = config
        nested = _nested(config)
        self.values: dict[str, Any] = {**config, **nested}
        named = self.values.get("architectures")
        self.architecture = str(named[0]) if isinstance(named, list) and named else ""
        self.model_type = self.text("model_type")
        self.family = families.family_of(self.model_type, self.architecture)
        self.is_nested = bool(nested)
        self.defaults = families.defaults().get(self.family, _NOTHING)

    def get(self, key: str) -> Any:
        """Return ``key`` of the language model's part, else of the top, else the family's.

        None if it is unknown or null.
        """
        value = self._said(key)
        return self._meant(key) if value is None else value

    def at_layer(self, layer: int) -> Fields:
        """Return the configuration of one layer, with its entry of ``per_layer_config``."""
        apart = self.values.get("per_layer_config")
        for key, values in apart.items() if isinstance(apart, dict) else ():
            if number(str(key)) == layer and isinstance(values, dict):
                whole = {k: v for k, v in self.values.items() if k not in families.NESTED_TEXT}
                made = Fields({**whole, **values, "per_layer_config": None})
                made.is_nested = self.is_nested
                return made
        return self

    def _said(self, key: str) -> Any:
        value = self.values.get(key)
        if value is not None:
            return value
        for part in families.NESTED_ATTENTION:
            inner = self.values.get(part)
            if isinstance(inner, dict) and inner.get(key) is not None:
                return inner[key]
        return None

    def _meant(self, key: str) -> Any:
        """Return the family's default; see families.ONLY_NESTED."""
        if key in self.values or (not self.is_nested and key in families.ONLY_NESTED):
            return None
        return self.defaults.get(key)

    def text(self, key: str) -> str:
        """Return a string, empty if absent or not a string."""
        value = self.values.get(key)
        return value if isinstance(value, str) else ""

    def flag(self, key: str) -> bool:
        """Return True only for JSON's ``true``."""
        return self.get(key) is True

    def number(self, keys: str | Sequence[str], default: int = 0) -> int:
        """Return the first of ``keys`` that is a natural number; of a list the largest.

        Raises:
            UnsupportedError: A key is not a whole number of at least 0.
        """
        spellings = (keys,) if isinstance(keys, str) else keys
        for read in (self._said, self._meant):
            for key in spellings:
                if (value := read(key)) is not None:
                    return _largest(key, value)
        return default

    def per_layer(self, keys: Sequence[str], layers: int) -> tuple[int, ...]:
        """Return a number for every layer if one of ``keys`` lists them; else empty."""
        for key in keys:
            value = self.get(key)
            if isinstance(value, list) and len(value) == layers and all(map(_natural, value)):
                return tuple(int(item) for item in value)
        return ()


def _nested(config: Mapping[str, Any]) -> dict[str, Any]:
    for key in families.NESTED_TEXT:
        inner = config.get(key)
        if isinstance(inner, dict):
            return {**inner, **_nested(inner)}
    return {}


def _largest(key: str, value: Any) -> int:
    numbers = value if isinstance(value, list) else [value]
    if not numbers or not all(_natural(item) for item in numbers):
        raise UnsupportedError(
            f"config.json: {key} is {_short(value)}, not a natural number",
            where="config.json",
            fix=f"correct {key}, or fetch config.json again",
        )
    return int(max(numbers))


def _natural(value: object) -> bool:
    if isinstance(value, float):
        return value.is_integer() and value >= 0
    return type(value) is int and value >= 0


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
