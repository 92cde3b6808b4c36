"""Compute what is constant in an ONNX graph, as ONNX Runtime does before it infers shapes.

Only what may say a shape is computed: few numbers, by operators whose result is not much larger
than what they are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STANDARD = ("", "ai.onnx", "ai.onnx.ml")
_SMALL = 1024  # elements of a constant that may say a shape
_NUMBERS = {1, 6, 7, 9, 11}  # FLOAT, INT32, INT64, BOOL, DOUBLE
# Operators whose result is not much larger than what they are given.
_FOLDED = {
    "Abs", "Add", "And", "Cast", "Ceil", "Concat", "Div", "Equal", "Floor", "Gather", "Greater",
    "Identity", "Less", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "ReduceMax",
    "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round", "Size", "Slice", "Split", "Sqrt",
    "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where",
}  # fmt: skip


def fold_constants(model: Any, types: Mapping[str, Any]) -> bool:
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
    name: str, producers: Mapping[str, Any], known: Mapping[str, Any]
) -> tuple[str, int] | None:
    """The tensor and the dimension of which a tensor is the size, None if it is something else."""
    from onnx import numpy_helper

    path = []
    for kind in ("Unsqueeze", "Gather", "Shape"):
        node = producers.get(name)
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
    if node.domain not in STANDARD[:2]:
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
