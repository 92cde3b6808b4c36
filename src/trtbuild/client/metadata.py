"""What a server says about a model, whichever protocol was asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trtbuild.signature import ServedModel, of_server


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """An input or an output. ``datatype`` as the protocol spells it (BYTES, BOOL, FP32…)."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """Inputs and outputs of one served model as the protocol tells them, and what they mean."""

    name: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]
    decoupled: bool
    served: ServedModel


def read(
    name: str,
    metadata: Mapping[str, Any],
    config: Mapping[str, Any],
    card: ServedModel | None = None,
) -> ModelMetadata:
    """From the JSON form of a server's metadata and configuration of a model."""
    return ModelMetadata(
        name,
        tensors(metadata.get("inputs", ())),
        tensors(metadata.get("outputs", ())),
        decoupled=bool(config.get("model_transaction_policy", {}).get("decoupled", False)),
        served=of_server(name, metadata, config, card),
    )


def tensors(rows: Iterable[Mapping[str, Any]]) -> tuple[TensorMetadata, ...]:
    """Tensors from the JSON form of the metadata; shapes are numbers or decimal text."""
    return tuple(
        TensorMetadata(
            str(item["name"]),
            str(item["datatype"]),
            tuple(int(size) for size in item.get("shape", ())),
        )
        for item in rows
    )
