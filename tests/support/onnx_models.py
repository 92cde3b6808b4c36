"""ONNX models and configurations for them, made from a number: sound ones, and spoilt ones.

The files have fixed, open and missing shapes, scalars, initializers among the inputs, outputs that
are not tensors, shapes that are computed, outputs whose written shape is not the inferred one,
sequence controls, states and ragged inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from support.onnx_oracle import Info, Session
from trtbuild import pbtxt

F, I64 = TensorProto.FLOAT, TensorProto.INT64
_TYPES = [
    F, F, F, F, TensorProto.INT32, I64, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BOOL,
    TensorProto.STRING, TensorProto.UINT8, TensorProto.INT8, TensorProto.BFLOAT16,
]  # fmt: skip
_CONFIG_TYPES = ["TYPE_FP32", "TYPE_INT64", "TYPE_STRING", "TYPE_BF16", "TYPE_BOOL"]
Dims = list[int | str | None] | None


class Graph:
    """A graph that grows: every operator adds what it needs."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.nodes: list[NodeProto] = []
        self.inputs: list[ValueInfoProto] = []
        self.outputs: list[ValueInfoProto] = []
        self.weights: list[TensorProto] = []

    def input(self, name: str, data_type: int, dims: Dims) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, data_type, dims))
        return name

    def node(self, kind: str, *inputs: str, out: str = "", domain: str = "", **more: Any) -> str:
        out = out or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], domain=domain, **more))
        return out

    def weight(self, value: Any, name: str = "") -> str:
        name = name or f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def whole(self, *values: int) -> str:
        """A constant of int64, as an initializer or as a node."""
        value = np.array(values, dtype=np.int64)
        if self.random.random() < 0.5:
            return self.weight(value)
        return self.node("Constant", value=numpy_helper.from_array(value))


def _flatten(graph: Graph, x: str) -> str:
    """The way exporters write x.view(x.size(0), -1)."""
    index = graph.weight(np.int64(0))
    size = graph.node("Gather", graph.node("Shape", x), index, axis=0)
    row = graph.node("Unsqueeze", size, graph.whole(0))
    return graph.node("Reshape", x, graph.node("Concat", row, graph.whole(-1), axis=0))


def _computed(graph: Graph, x: str) -> str:
    shape = graph.node("Shape", x)
    more = graph.node("Mul", shape, graph.whole(1))
    return graph.node("Reshape", x, more)


def _matmul(graph: Graph, x: str) -> str:
    width = graph.random.choice([2, 4, 5])
    return graph.node("MatMul", x, graph.weight(np.ones((4, width), dtype=np.float32)))


def _if(graph: Graph, x: str) -> str:
    branches = {}
    for side in ("then_branch", "else_branch"):
        out = helper.make_tensor_value_info(side, F, None)
        body = helper.make_node("Relu" if side[0] == "t" else "Abs", [x], [side])
        branches[side] = helper.make_graph([body], side, [], [out])
    condition = graph.node("Constant", value=numpy_helper.from_array(np.array(True)))
    return graph.node("If", condition, **branches)


_OPERATORS: list[Callable[[Graph, str], str]] = [
    lambda g, x: g.node("Relu", x),
    lambda g, x: g.node("Sigmoid", x),
    lambda g, x: g.node("Identity", x),
    lambda g, x: g.node("Add", x, g.weight(np.ones(4, dtype=np.float32))),
    lambda g, x: g.node("Add", x, g.weight(np.float32(1))),
    lambda g, x: g.node("Reshape", x, g.whole(*g.random.choice([(0, -1), (-1, 2), (-1,)]))),
    lambda g, x: g.node("Reshape", x, g.whole(0, 2, -1)),
    lambda g, x: g.node("Reshape", x, g.node("Add", g.whole(0, -1), g.whole(0, 0))),
    lambda g, x: g.node("Flatten", x),
    lambda g, x: g.node("ReduceMean", x, axes=[-1], keepdims=g.random.randint(0, 1)),
    lambda g, x: g.node("ReduceMean", x, keepdims=0),
    lambda g, x: g.node("Transpose", x),
    lambda g, x: g.node("Unsqueeze", x, g.whole(g.random.choice([0, 1]))),
    lambda g, x: g.node("Concat", x, x, axis=-1),
    lambda g, x: g.node("Softmax", x),
    lambda g, x: g.node("Slice", x, g.whole(0), g.whole(2), g.whole(-1)),
    lambda g, x: g.node("Expand", x, g.whole(1, 4)),
    lambda g, x: g.node("Tile", x, g.whole(1, 2)),
    lambda g, x: g.node("Cast", g.node("Cast", x, to=I64), to=F),
    lambda g, x: g.node("Cast", g.node("ArgMax", x, axis=-1), to=F),
    lambda g, x: g.node("Cast", g.node("NonZero", x), to=F),
    lambda g, x: g.node("Cast", g.node("Shape", x), to=F),
    lambda g, x: g.node("ConstantOfShape", g.node("Shape", x)),
    lambda g, x: g.node("Expand", g.weight(np.float32(2)), g.node("Shape", x)),
    lambda g, x: g.node("Gelu", x, domain="com.microsoft"),
    lambda g, x: g.node("ExpandDims", x, g.weight(np.int32(1)), domain="com.microsoft"),
    _flatten,
    _computed,
    _matmul,
    _if,
]  # fmt: skip


def _dims(random: Random, batch: bool, *, empty: bool = True) -> Dims:
    odds = random.random()
    if odds < 0.03:
        return None
    if odds < 0.08:
        return []
    rest: list[int | str | None] = [
        random.choice([4, 4, 4, 2, 1, "L", -1, None, 0 if empty and odds > 0.9 else 4])
        for _ in range(random.choice([0, 1, 1, 1, 2]))
    ]
    if batch or random.random() < 0.2:
        return [random.choice(["N", "N", "N", -1, None]), *rest]
    return [random.choice([1, 2, 4, "N"]), *rest]


def model(random: Random) -> ModelProto:
    """A model; ONNX Runtime may refuse to load it."""
    graph = Graph(random)
    batch = random.random() < 0.7
    x = graph.input("x", F, _dims(random, batch, empty=False))  # 0 ends Slice in ONNX Runtime
    for _ in range(random.choice([0, 1, 1, 2, 3])):
        x = random.choice(_OPERATORS)(graph, x)
    version = random.choice([3, 4, 7, 8, 9, 10])
    _extras(graph, x, batch)
    if random.random() < 0.2:
        _overridable(graph)
    opset = random.choice([13, 14, 15, 17, 17, 18, 19, 21])
    if opset >= 18:  # axes became an input
        for node in graph.nodes:
            axes = [a for a in node.attribute if a.name == "axes" and node.op_type == "ReduceMean"]
            for attribute in axes:
                node.input.append(graph.weight(np.array(attribute.ints, dtype=np.int64)))
                node.attribute.remove(attribute)
    if version < 4:
        for one in graph.weights:
            info = helper.make_tensor_value_info(one.name, one.data_type, list(one.dims))
            graph.inputs += [] if one.name in {i.name for i in graph.inputs} else [info]
    made = helper.make_model(
        helper.make_graph(graph.nodes, "g", graph.inputs, graph.outputs, graph.weights),
        ir_version=version,
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)],
    )
    _write_shapes(random, made)
    return made


def _extras(graph: Graph, x: str, batch: bool) -> None:
    """Outputs, and further inputs with outputs of their own."""
    random = graph.random
    _written(graph, graph.node("Identity", x, out="y"), F)
    for number in range(random.choice([0, 0, 0, 1, 2])):
        data_type = random.choice(_TYPES)
        name = graph.input(f"i{number}", data_type, _dims(random, batch))
        if random.random() < 0.7:
            _written(graph, graph.node("Identity", name, out=f"o{number}"), data_type)
    if random.random() < 0.15:
        for name in ("START", "READY", "ID")[: random.choice([1, 2, 3])]:
            kind = random.choice([F, F, TensorProto.INT32, TensorProto.BOOL, TensorProto.UINT64])
            graph.input(name, kind, random.choice([["N", 1], ["N", 1], [1], ["N", "L"], ["N"]]))
    if random.random() < 0.1:
        graph.input("state", F, ["N", 4])
        _written(graph, graph.node("Identity", "state", out="new_state"), F)
    if random.random() < 0.1:
        graph.input("ragged", F, random.choice([["T"], ["T"], ["N", "T"]]))
        graph.input("lengths", F, ["M"])
    if random.random() < 0.04:
        graph.node("SequenceConstruct", x, out="s")
        graph.outputs.append(helper.make_tensor_sequence_value_info("s", F, None))


def _overridable(graph: Graph) -> None:
    weights = graph.weights or [numpy_helper.from_array(np.ones(4, dtype=np.float32), "w")]
    graph.weights = weights
    one = graph.random.choice(weights)
    dims = list(one.dims) if graph.random.random() < 0.8 else ["K"] * len(one.dims)
    graph.inputs.append(helper.make_tensor_value_info(one.name, one.data_type, dims))


def _written(graph: Graph, name: str, data_type: int) -> None:
    graph.outputs.append(helper.make_tensor_value_info(name, data_type, None))


def _write_shapes(random: Random, made: ModelProto) -> None:
    """Outputs say the shape that is inferred, less of it, or now and then another one."""
    session = Session(made.SerializeToString())
    found = {name: one.dims for name, one in session.infos("outputs").items()}
    # where the validator does not know what is inferred, it believes what is written
    sound = any(node.domain or node.op_type in ("If", "Shape") for node in made.graph.node)
    for one in made.graph.output:
        if not one.type.HasField("tensor_type") or random.random() < 0.2:
            continue
        dims: list[int | str | None] = [
            size if size >= 0 and random.random() < 0.6 else random.choice(["N", "A", None])
            for size in found[one.name]
        ]
        if not sound and random.random() < 0.1:
            odd = random.randrange(len(dims) + 1)
            dims[odd : odd + random.randint(0, 1)] = [random.choice([5, "B"])]
        kind = one.type.tensor_type.elem_type
        one.CopyFrom(helper.make_tensor_value_info(one.name, kind, dims))


def config(random: Random, session: Session) -> Any:
    """A configuration for what a session has: often right, often changed in a place or two."""
    batch = random.choice([0, 0, 8, 8, 1])
    made = pbtxt.model_config(name="m", backend="onnxruntime", max_batch_size=batch)
    inputs = session.infos("inputs")
    for name, one in inputs.items():
        if name in ("START", "READY", "ID", "state", "ragged", "lengths") and random.random() < 0.9:
            _special(random, made, name, one)
        else:
            _tensor(random, made.input, name, one, batch)
    for name, one in session.infos("overridable_initializers").items():
        if random.random() < 0.5:
            _tensor(random, made.input, name, one, batch)
            made.input[-1].optional = random.random() < 0.85
    for name, one in session.infos("outputs").items():
        if random.random() < 0.9:
            _tensor(random, made.output, name, one, batch)
    for _ in range(random.choice([0, 0, 1, 1, 2])):
        random.choice(_CHANGES)(random, made)
    return made


def _tensor(random: Random, tensors: Any, name: str, one: Info, batch: int) -> None:
    dims = one.dims[1 if batch else 0 :]
    tensor = tensors.add(name=name, dims=dims or [1])
    named = {"float": "FP32", "double": "FP64", "float16": "FP16", "string": "STRING"}
    tensor.data_type = pbtxt.data_type(
        f"TYPE_{named.get(one.type, 'FP32' if one.type == 'bfloat16' else one.type.upper())}"
    )
    if batch and not dims and one.dims:
        tensor.reshape.SetInParent()
    if random.random() < 0.3:
        fixed = [size if size > 0 else random.choice([3, -1]) for size in tensor.dims]
        tensor.dims[:] = fixed


def _special(random: Random, made: Any, name: str, one: Info) -> None:
    sequence = made.sequence_batching
    if name in ("START", "READY"):
        control = sequence.control_input.add(name=name).control.add()
        control.kind = type(control).Kind.Value(f"CONTROL_SEQUENCE_{name}")
        field = {"int32": "int32_false_true", "bool": "bool_false_true"}.get(one.type)
        getattr(control, field or "fp32_false_true").extend([0, 1])
    elif name == "ID":
        control = sequence.control_input.add(name=name).control.add()
        control.kind = type(control).Kind.Value("CONTROL_SEQUENCE_CORRID")
        control.data_type = pbtxt.data_type(random.choice(["TYPE_UINT64", "TYPE_INT32"]))
    elif name == "state":
        data_type = pbtxt.data_type("TYPE_FP32")
        sequence.state.add(input_name=name, output_name="new_state", data_type=data_type, dims=[4])
    elif name == "ragged":
        data_type = pbtxt.data_type("TYPE_FP32")
        made.input.add(name=name, data_type=data_type, dims=[-1], allow_ragged_batch=True)
    elif made.input:
        made.batch_input.add(
            kind=0, target_name=[name], data_type=pbtxt.data_type("TYPE_FP32"),
            source_input=[made.input[0].name],
        )  # fmt: skip


def _a_tensor(random: Random, made: Any) -> Any:
    return random.choice([*made.input, *made.output] or [None])


def _change_dims(random: Random, made: Any) -> None:
    tensor = _a_tensor(random, made)
    if tensor is not None and not tensor.HasField("reshape"):
        dims = list(tensor.dims)
        dims[random.randrange(len(dims))] = random.choice([-1, 1, 4, 5])
        tensor.dims[:] = random.choice([dims, dims, [*dims, 1], dims[1:] or [2]])


def _change_type(random: Random, made: Any) -> None:
    tensor = _a_tensor(random, made)
    if tensor is not None:
        tensor.data_type = pbtxt.data_type(random.choice(_CONFIG_TYPES))


def _change_name(random: Random, made: Any) -> None:
    tensor = _a_tensor(random, made)
    if tensor is not None:
        tensor.name = random.choice(["other", "y", "x", "w"])


def _drop(random: Random, made: Any) -> None:
    tensors = random.choice([made.input, made.output])
    if tensors:
        del tensors[random.randrange(len(tensors))]


def _empty(random: Random, made: Any) -> None:
    for field in random.choice([("input",), ("output",), ("input", "output")]):
        made.ClearField(field)


def _batch(random: Random, made: Any) -> None:
    made.max_batch_size = random.choice([0, 1, 8])


def _optional(random: Random, made: Any) -> None:
    if made.input:
        random.choice(made.input).optional = True


def _ragged(random: Random, made: Any) -> None:
    if made.input:
        random.choice(made.input).allow_ragged_batch = True


def _reshape(random: Random, made: Any) -> None:
    tensor = _a_tensor(random, made)
    if tensor is not None and list(tensor.dims) != [1] and -1 not in tensor.dims:
        tensor.reshape.shape[:] = [*tensor.dims, 1]


def _batch_output(random: Random, made: Any) -> None:
    if made.output and made.input:
        made.batch_output.add(
            target_name=[random.choice(made.output).name], source_input=[made.input[0].name]
        )


def _control(random: Random, made: Any) -> None:
    if not made.sequence_batching.control_input and made.input:
        _special(random, made, "START", Info("float", []))
        made.sequence_batching.control_input[0].name = random.choice(["x", "START", "absent"])


_CHANGES: list[Callable[[Random, Any], None]] = [
    _change_dims, _change_dims, _change_dims, _change_type, _change_name, _drop, _empty, _empty,
    _batch, _optional, _ragged, _reshape, _batch_output, _control,
]  # fmt: skip
