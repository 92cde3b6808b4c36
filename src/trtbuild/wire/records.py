"""A server's metadata and that of its models, the same over HTTP and gRPC."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class TensorSpec(NamedTuple):
    """An input or output of a model.

    Attributes:
        name: Its name.
        datatype: As the protocol spells it: ``BYTES``, ``BOOL``, ``FP32``.
        shape: With the batch dimension, if the model has one; -1 is any size.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """``platform`` is the old platform name, ``ensemble``, or the backend."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> ModelMetadata:
        """From the protocol's JSON form; KeyError, TypeError or ValueError for another value."""
        return cls(
            name=str(value["name"]),
            versions=tuple(str(version) for version in value.get("versions") or ()),
            platform=str(value.get("platform", "")),
            inputs=tuple(_specs(value.get("inputs") or ())),
            outputs=tuple(_specs(value.get("outputs") or ())),
        )


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A model of the repository.

    ``state`` is ``READY``, ``UNAVAILABLE``, ``LOADING``, ``UNLOADING``, or empty for a model that
    was never loaded; ``reason`` says why it is unavailable.
    """

    name: str
    version: str = ""
    state: str = ""
    reason: str = ""

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> IndexEntry:
        """From the protocol's JSON form; KeyError or TypeError for another value."""
        rest = (str(value.get(key) or "") for key in ("version", "state", "reason"))
        return cls(str(value["name"]), *rest)


def _specs(rows: Iterable[Mapping[str, Any]]) -> Iterable[TensorSpec]:
    for row in rows:
        shape = tuple(int(size) for size in row.get("shape") or ())
        yield TensorSpec(str(row["name"]), str(row["datatype"]), shape)
