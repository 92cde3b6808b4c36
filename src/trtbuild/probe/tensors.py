"""Compare the server's metadata of a model with its file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trtbuild import pbtxt
from trtbuild.check import Finding
from trtbuild.client import DescribedModel
from trtbuild.probe.rules import SAME_TENSORS
from trtbuild.probe.target import RepositoryModel

Shape = tuple[str, tuple[int, ...]]


def compare(target: RepositoryModel, described: DescribedModel) -> Iterator[Finding]:
    """Compare names, types, shapes and transaction policy."""
    config, metadata = target.config, described.metadata
    for kind, written, specs in (
        ("input", config.input, metadata.inputs),
        ("output", config.output, metadata.outputs),
    ):
        expected = {tensor.name: _tensor(tensor, config.max_batch_size) for tensor in written}
        actual = {spec.name: (spec.datatype, spec.shape) for spec in specs}
        for name in sorted(expected.keys() | actual.keys()):
            if expected.get(name) != actual.get(name):
                yield target.finding(
                    SAME_TENSORS,
                    f"{kind} {name!r} is {_shown(expected.get(name))} in the file and "
                    f"{_shown(actual.get(name))} on the server",
                )
    decoupled = bool(config.model_transaction_policy.decoupled)
    actual_policy = bool(described.served.decoupled)
    if decoupled != actual_policy and config.platform != "ensemble":
        yield target.finding(
            SAME_TENSORS,
            f"decoupled is {decoupled} in the file and {actual_policy} on the server",
            fix=f"write model_transaction_policy {{ decoupled: {str(actual_policy).lower()} }}",
        )


def _tensor(tensor: Any, max_batch_size: int) -> Shape:
    name = pbtxt.data_type_name(tensor.data_type).removeprefix("TYPE_")
    batch = (-1,) if max_batch_size > 0 else ()
    return ("BYTES" if name == "STRING" else name, (*batch, *tensor.dims))


def _shown(tensor: Shape | None) -> str:
    return "absent" if tensor is None else f"{tensor[0]}{list(tensor[1])}"
