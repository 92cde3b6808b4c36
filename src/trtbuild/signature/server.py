"""Read a description from a running server: a model's metadata and configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trtbuild.signature.dialects import recognize
from trtbuild.signature.model import ServedModel, ServedTask, Tensor
from trtbuild.signature.reading import with_card
from trtbuild.wire.records import ModelMetadata, TensorSpec


def of_server(
    metadata: ModelMetadata, config: Mapping[str, Any], card: ServedModel | None = None
) -> ServedModel:
    """Return the model as its server describes it.

    Args:
        metadata: The model's metadata, from either protocol.
        config: From ``/v2/models/NAME/config``, or the JSON form of gRPC's answer.
        card: A description from elsewhere, such as the lock of the repository: the server reports
            neither the context nor the head, and does not tell a pooling vLLM from a generating
            one.
    """
    batch = int(config.get("max_batch_size", 0))
    inputs = _tensors(metadata.inputs, config.get("input", ()), batch)
    outputs = _tensors(metadata.outputs, config.get("output", ()), batch)
    task, schema = recognize(
        (tensor.name for tensor in inputs),
        (tensor.name for tensor in outputs),
        backend=str(config.get("backend", "")),
        pooling=card is not None and card.task is ServedTask.EMBED,
    )
    model = ServedModel(
        metadata.name,
        task,
        schema,
        inputs,
        outputs,
        decoupled=_decoupled(config),
        max_batch_size=batch,
    )
    return model if card is None else with_card(model, card)


def _tensors(
    specs: Iterable[TensorSpec], configured: Iterable[Mapping[str, Any]], batch: int
) -> tuple[Tensor, ...]:
    """Return names, types and shapes from the metadata; which inputs are optional, from the
    configuration."""
    optional = {str(row["name"]) for row in configured if row.get("optional")}
    return tuple(
        Tensor(
            name=spec.name,
            datatype="STRING" if spec.datatype == "BYTES" else spec.datatype,
            dims=spec.shape[int(batch > 0) :],
            optional=spec.name in optional,
        )
        for spec in specs
    )


def _decoupled(config: Mapping[str, Any]) -> bool | None:
    """Whether it is decoupled; None for an ensemble, whose configuration does not say."""
    if config.get("model_transaction_policy", {}).get("decoupled"):
        return True
    return None if config.get("platform") == "ensemble" else False
