"""The shapes that ONNX Runtime infers for the outputs of a graph.

It infers shapes with ONNX's own functions, computes what is constant (also the ``Shape`` of a
tensor whose sizes are all known), and infers again. What it may know beyond that is called vague:
operators that only it has, and shapes computed from open ones, which its fusions simplify.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trtbuild.check.apart import apart
from trtbuild_rules.readers.graphs.onnxfold import STANDARD, fold_constants

_ROUNDS = 20
_OVERRIDABLE = 4
# Operators of ONNX Runtime whose result has the type and shape of their first input.
_AS_THE_FIRST = {
    "BiasGelu", "FastGelu", "Gelu", "QuickGelu", "RotaryEmbedding", "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """What is inferred of an output: its type, if it is known, and whether ONNX Runtime may know
    more."""

    type: Any
    vague: bool


def output_shapes(model: Any, *, fold: bool) -> Mapping[str, Found]:
    """What can be inferred of a model's outputs, by name.

    ONNX's inference trusts the file, and aborts on some (sizes below 0 are one reason), so it
    works in a process of its own.

    Args:
        model: A ``ModelProto``; it is not changed.
        fold: Whether constants are computed first.
    """
    import onnx.reference  # before the process that needs it
    import onnx.shape_inference

    said = apart(_output_shapes, model, fold)
    if said is None:
        return {one.name: Found(None, vague=True) for one in model.graph.output}
    return {
        name: Found(onnx.TypeProto.FromString(bytes.fromhex(type_)), vague)
        for name, type_, vague in said
    }


def _output_shapes(model: Any, fold: bool) -> list[tuple[str, str, bool]]:
    import onnx

    work = onnx.ModelProto()
    work.CopyFrom(model)
    _prepare(work)
    types = _infer(work)
    if fold:
        for _ in range(_ROUNDS):
            if not fold_constants(work, types):
                break
            types = _infer(work)
    vague = _vague(work, types)
    return [
        (one.name, types[one.name].SerializeToString().hex(), one.name in vague)
        for one in model.graph.output
        if one.name in types
    ]


def _prepare(model: Any) -> None:
    """Outputs say no shape; an initializer is a constant or an input, not both; a size below 0
    is open."""
    graph = model.graph
    for node in graph.node:
        if node.domain == "com.microsoft" and node.op_type in _AS_THE_FIRST:
            node.domain, node.op_type = "", "Identity"
            del node.attribute[:], node.input[1:], node.output[1:]
    for one in (*graph.input, *graph.value_info):
        for dim in one.type.tensor_type.shape.dim if one.type.HasField("tensor_type") else ():
            if dim.dim_value < 0:
                dim.ClearField("dim_value")
    for one in graph.output:
        if one.type.HasField("tensor_type"):
            one.type.tensor_type.ClearField("shape")
    weights = {one.name for one in graph.initializer}
    named = {one.name for one in graph.input} & weights
    if model.ir_version >= _OVERRIDABLE:
        _keep(graph.initializer, lambda one: one.name not in named)
    else:
        _keep(graph.input, lambda one: one.name not in named)
        model.ir_version = _OVERRIDABLE


def _keep(items: Any, predicate: Any) -> None:
    kept = [one for one in items if predicate(one)]
    if len(kept) < len(items):
        del items[:]
        items.extend(kept)


def _infer(model: Any) -> dict[str, Any]:
    """The types of all tensors that are known, by name."""
    import onnx.shape_inference

    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError):
        graph = model.graph
    types = {one.name: one.type for part in (graph.value_info, graph.output) for one in part}
    types |= {one.name: one.type for one in graph.input}
    for one in graph.initializer:
        types[one.name] = onnx.helper.make_tensor_type_proto(one.data_type, one.dims)
    return {name: type_ for name, type_ in types.items() if type_.WhichOneof("value")}


def _vague(model: Any, types: Mapping[str, Any]) -> set[str]:
    """The tensors of whose sizes ONNX Runtime may know more than is inferred here: those of its own
    operators, and those whose sizes are values that it may compute."""
    vague: set[str] = set()
    values: set[str] = set()
    constant = {one.name for one in model.graph.initializer}
    for node in model.graph.node:
        inputs = {name for name in node.input if name}
        computed = inputs and inputs <= constant
        if computed:
            constant |= set(node.output)
        whole = any(types[n].tensor_type.elem_type in _WHOLE for n in node.output if n in types)
        own = _is_own(node)
        if own or node.op_type in ("Shape", "Size") or inputs & values or (computed and whole):
            values |= set(node.output)
        if own or inputs & vague or set(_sizes_of(node)) & values:
            vague |= set(node.output)
    return vague


_WHOLE = (6, 7)  # INT32, INT64
# The first input that says a size of the result; the reductions' axes are their second.
_SAYS_SIZES = {
    "AffineGrid": 1, "BlackmanWindow": 0, "CenterCropPad": 1, "Col2Im": 1, "Compress": 1,
    "ConstantOfShape": 0, "DFT": 1, "Expand": 1, "HammingWindow": 0, "HannWindow": 0,
    "MaxUnpool": 2, "MelWeightMatrix": 0, "NonZero": 0, "OneHot": 1, "Pad": 1, "Range": 0,
    "Reshape": 1, "Resize": 1, "STFT": 1, "Slice": 1, "Split": 1, "SplitToSequence": 1,
    "Squeeze": 1, "Tile": 1, "TopK": 1, "Unique": 0, "Unsqueeze": 1, "Upsample": 1,
}  # fmt: skip


def _sizes_of(node: Any) -> list[str]:
    reduces = node.op_type.startswith("Reduce")
    first = 1 if reduces else _SAYS_SIZES.get(node.op_type, len(node.input))
    return list(node.input[first:])


def _is_own(node: Any) -> bool:
    """Whether ONNX Runtime may infer more of a node than ONNX."""
    return node.domain not in STANDARD or any(one.HasField("g") for one in node.attribute)
