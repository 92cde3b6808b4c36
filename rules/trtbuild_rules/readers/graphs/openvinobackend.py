"""What the OpenVINO backend refuses of a configuration, given the model's file.

Read from triton-inference-server/openvino_backend, src/openvino.cc (ValidateInputs,
ValidateOutputs, AutoCompleteBatching, AutoCompleteInputOrOutput) and src/openvino_utils.cc
(CompareDimsSupported), as they are since the backend takes dynamic shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from trtbuild import pbtxt
from trtbuild.check.completed import shown
from trtbuild_rules.readers.graphs.filetensors import Pair, Refusal
from trtbuild_rules.readers.graphs.onnxbackend import DEFAULT_MAX_BATCH_SIZE

if TYPE_CHECKING:
    from trtbuild_rules.readers.graphs.openvinofile import OpenvinoFile, OpenvinoTensor

_UNSUPPORTED = ("TYPE_INVALID", "TYPE_FP64", "TYPE_STRING", "TYPE_BF16")


def refusals(
    config: Any, called: str, file: OpenvinoFile, *, auto_complete: bool
) -> Iterator[Refusal]:
    """All that the backend would refuse, in its order; it says only the first.

    Args:
        config: The ``ModelConfig`` as it is written.
        called: The model's name.
        file: Its model.xml.
        auto_complete: Whether the server completes configurations: a list of tensors that is
            empty, and the batch of a file whose layouts have one.
    """
    every = (*file.inputs, *file.outputs)
    if any(not one.name and one.known for one in every):
        server = "Attempt to get a name for a Tensor without names"
        yield Refusal("the file has an input or output without a name", server)
        return
    batch = config.max_batch_size
    if auto_complete and batch == 0 and all(one.batch for one in every):
        batch = DEFAULT_MAX_BATCH_SIZE
    if config.input or not auto_complete:
        if len(config.input) != len(file.inputs):
            yield _count(config, called, file)
        yield from _compared("input", config, called, file.inputs, batch)
    if config.output and all(one.known for one in file.outputs):
        yield from _compared("output", config, called, file.outputs, batch)


def _count(config: Any, called: str, file: OpenvinoFile) -> Refusal:
    named = {tensor.name for tensor in config.input}
    missing = ", ".join(repr(one.name) for one in file.inputs if one.name not in named)
    return Refusal(
        f"config.pbtxt has {len(config.input)} inputs, the file has {len(file.inputs)}"
        + (f"; it does not have {missing}" if missing else ""),
        f"unable to load model '{called}', configuration expects {len(config.input)} inputs, model "
        f"provides {len(file.inputs)}",
        ("input",),
    )


def _compared(
    kind: str, config: Any, called: str, tensors: Sequence[OpenvinoTensor], batch: int
) -> Iterator[Refusal]:
    has = {one.name: one for one in tensors}
    reshapes = kind == "input" and _reshapes(config)
    for number, tensor in enumerate(getattr(config, kind)):
        found = has.get(tensor.name)
        pair = Pair(kind, number, tensor, None, called, batch > 0)
        written = pbtxt.data_type_name(tensor.data_type)
        if found is None:
            yield pair.unknown(sorted(has))
        elif written in _UNSUPPORTED:
            yield pair.unsupported(written)
        elif not reshapes and found.dims is not None:
            yield from _dims(pair, found, found.dims, batch)


def _reshapes(config: Any) -> bool:
    """Whether the backend gives the model's inputs the shapes of the configuration."""
    key = "RESHAPE_IO_LAYERS"
    return key in config.parameters and config.parameters[key].string_value.lower() == "yes"


def _dims(
    pair: Pair, tensor: OpenvinoTensor, has: tuple[int, ...], batch: int
) -> Iterator[Refusal]:
    field, dims = pair.written()
    full = (batch, *dims) if batch else dims
    said = f"model '{pair.called}', tensor '{pair.tensor.name}': "
    if batch and not has:
        said += "for the model to support batching the shape should have at least 1 dimension"
        yield pair.refusal("has no dimension in the file for a batch", said, field, model=False)
        return
    if len(has) == len(full) and all(
        _matches(tensor, index, size, wanted, pair.kind, batched=bool(batch))
        for index, (size, wanted) in enumerate(zip(has, full, strict=True))
    ):
        return
    shape = (
        "an initial batch dimension because max_batch_size > 0 followed by the explicit tensor "
        f"shape, making complete shape {shown(full)}"
        if batch
        else f"shape {shown(full)}"
    )
    # the sizes of an output change with the batch that the backend sets
    sizes = "" if batch and pair.kind == "output" else f"{shown(has)}) but the model configuration "
    rest = f"specifies {len(full)} dimensions ({shape})" if sizes else ""
    yield pair.refusal(
        f"is {list(full)}{' with its batch' if batch else ''}, in the file {list(has)}",
        f"{said}the model expects {len(has)} dimensions (shape {sizes}{rest}",
        field,
        model=False,
    )


def _matches(
    tensor: OpenvinoTensor, index: int, size: int, expected: int, kind: str, *, batched: bool
) -> bool:
    """Whether a size fits; the first of a batch is set by the backend."""
    if batched and (index == 0 or (kind == "input" and expected == -1)):
        return True
    if size != -1:
        return size == expected
    low, high = tensor.limits.get(index, (-2, 1 << 62))
    return low < expected < high
