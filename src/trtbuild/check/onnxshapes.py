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

_ROUNDS = 20
_SMALL = 1024  # elements of a constant that may say a shape
_OVERRIDABLE = 4
_STANDARD = ("", "ai.onnx", "ai.onnx.ml")
# Operators of ONNX Runtime whose result has the type and shape of their first input.
_AS_THE_FIRST = {
    "BiasGelu", "FastGelu", "Gelu", "QuickGelu", "RotaryEmbedding", "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
}  # fmt: skip
# Operators whose result is not much larger than what they are given.
_FOLDED = {
    "Abs", "Add", "And", "Cast", "Ceil", "Concat", "Div", "Equal", "Floor", "Gather", "Greater",
    "Identity", "Less", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "ReduceMax",
    "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round", "Size", "Slice", "Split", "Sqrt",
    "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where",
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
            if not _fold(work, types):
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


def _keep(items: Any, wanted: Any) -> None:
    kept = [one for one in items if wanted(one)]
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


def _fold(model: Any, types: Mapping[str, Any]) -> bool:
    """Replace nodes whose result is known by initializers; whether there was one."""
    graph = model.graph
    known = {one.name: one for one in graph.initializer}
    fused = _fused(graph, known)
    folded, kept = [], []
    for node in graph.node:
        results = fused.get(node.output[0]) or _computed(model, node, known, types)
        if results is None:
            kept.append(node)
        else:
            folded += results
            known |= {one.name: one for one in results}
    if folded:
        del graph.node[:]
        graph.node.extend(kept)
        graph.initializer.extend(folded)
    return bool(folded)


def _fused(graph: Any, known: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The shapes of what exporters make of ``x.view(x.size(0), -1)``, by name: ONNX Runtime takes
    0, the size that ``x`` has there, for ``Unsqueeze(Gather(Shape(x), 0))``."""
    import numpy as np
    from onnx import numpy_helper

    made = {name: node for node in graph.node for name in node.output}
    fused = {}
    for node in graph.node:
        concat = made.get(node.input[1]) if node.op_type == "Reshape" else None
        if concat is None or concat.op_type != "Concat" or node.attribute:
            continue
        sizes: list[int] = []
        for name in concat.input:
            if name in known and _is_small(known[name]):
                sizes += numpy_helper.to_array(known[name]).flatten().tolist()
            elif _size_of(name, made, known) == (node.input[0], len(sizes)):
                sizes.append(0)
            else:
                break
        else:
            value = np.array(sizes, dtype=np.int64)
            fused[concat.output[0]] = [numpy_helper.from_array(value, concat.output[0])]
    return fused


def _size_of(
    name: str, made: Mapping[str, Any], known: Mapping[str, Any]
) -> tuple[str, int] | None:
    """The tensor and the dimension of which a tensor is the size, None if it is something else."""
    from onnx import numpy_helper

    path = []
    for kind in ("Unsqueeze", "Gather", "Shape"):
        node = made.get(name)
        axes = set(node.input[1:]) if node is not None and kind == "Unsqueeze" else set()
        if node is None or node.op_type != kind or not node.input or axes - known.keys():
            return None
        path.append(node)
        name = node.input[0]
    index = known.get(path[1].input[1])
    if index is None or index.dims or not _is_small(index) or path[2].attribute:
        return None
    return name, int(numpy_helper.to_array(index))


def _computed(
    model: Any, node: Any, known: Mapping[str, Any], types: Mapping[str, Any]
) -> list[Any] | None:
    """The results of a node as initializers, None if they are not known or not small."""
    if node.domain not in _STANDARD[:2]:
        return None
    if node.op_type == "Constant":
        return _constant(node)
    if node.op_type == "Shape":
        return _shape(node, types)
    inputs = [known.get(name) for name in node.input if name]
    if node.op_type not in _FOLDED or not inputs or not all(map(_is_small, inputs)):
        return None
    return _evaluated(model, node, inputs)


def _constant(node: Any) -> list[Any] | None:
    import numpy as np
    from onnx import numpy_helper

    for attribute in node.attribute:
        if attribute.name == "value" and _is_small(attribute.t):
            named = type(attribute.t)()
            named.CopyFrom(attribute.t)
            named.name = node.output[0]
            return [named]
        if attribute.name in ("value_int", "value_ints"):
            one = attribute.name == "value_int"
            value = np.array(attribute.i if one else list(attribute.ints), dtype=np.int64)
            return [numpy_helper.from_array(value, node.output[0])]
    return None


def _shape(node: Any, types: Mapping[str, Any]) -> list[Any] | None:
    import numpy as np
    from onnx import numpy_helper

    type_ = types.get(node.input[0] if node.input else "")
    if type_ is None or not type_.tensor_type.HasField("shape"):
        return None
    dims = type_.tensor_type.shape.dim
    if not all(dim.HasField("dim_value") and dim.dim_value >= 0 for dim in dims):
        return None
    said = {attribute.name: attribute.i for attribute in node.attribute}
    sizes = [dim.dim_value for dim in dims][said.get("start", 0) : said.get("end")]
    return [numpy_helper.from_array(np.array(sizes, dtype=np.int64), node.output[0])]


def _is_small(tensor: Any) -> bool:
    """Whether a constant may say a shape: few numbers that are in the file itself."""
    if tensor is None or tensor.data_location == type(tensor).EXTERNAL:
        return False
    count = 1
    for size in tensor.dims:
        count *= max(size, 0)
    return count <= _SMALL and tensor.data_type in _NUMBERS


_NUMBERS = {1, 6, 7, 9, 11}  # FLOAT, INT32, INT64, BOOL, DOUBLE


def _evaluated(model: Any, node: Any, inputs: list[Any]) -> list[Any] | None:
    from onnx import ValueInfoProto, helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    names = dict.fromkeys(name for name in node.input if name)
    values = [ValueInfoProto(name=name) for name in names]
    outputs = [ValueInfoProto(name=name) for name in node.output if name]
    alone = helper.make_model(
        helper.make_graph([node], "node", values, outputs),
        ir_version=model.ir_version,
        opset_imports=model.opset_import,
    )
    try:
        feeds = {one.name: numpy_helper.to_array(one) for one in inputs}
        results = ReferenceEvaluator(alone).run(None, feeds)
    except Exception:  # whatever a strange node does there, it is not known then
        return None
    if any(getattr(result, "size", _SMALL + 1) > _SMALL for result in results):
        return None
    return [
        numpy_helper.from_array(result, value.name)
        for result, value in zip(results, outputs, strict=True)
    ]


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
    return node.domain not in _STANDARD or any(one.HasField("g") for one in node.attribute)
