"""An ONNX file as ONNX Runtime describes it, read through the ``onnx`` package, an extra.

What ONNX Runtime 1.32 reports of a session (checked by tests/unit/check/test_onnx.py): a tensor
without a shape is a scalar; an initializer among the inputs can be overridden from IR version 4 on
and is not an input before; open sizes of an output are those that it infers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from trtbuild_rules.readers.graphs.onnxshapes import Found, output_shapes

_OVERRIDABLE = 4  # IR version from which a client may give an initializer
# ONNX's element types (onnx.proto, TensorProto.DataType) that the backend knows, and Triton's
# names of them (onnxruntime_backend, src/onnxruntime_utils.cc).
_TYPES = {
    "FLOAT": "TYPE_FP32",
    "DOUBLE": "TYPE_FP64",
    "FLOAT16": "TYPE_FP16",
    "STRING": "TYPE_STRING",
    "BOOL": "TYPE_BOOL",
    **{f"INT{bits}": f"TYPE_INT{bits}" for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": f"TYPE_UINT{bits}" for bits in (8, 16, 32, 64)},
}
_UNSUPPORTED = {"COMPLEX64": "COMPLEX64", "COMPLEX128": "COMPLEX64", "BFLOAT16": "BFLOAT16"}
_KINDS = {
    "tensor_type": "TENSOR",
    "sequence_type": "SEQUENCE",
    "map_type": "MAP",
    "sparse_tensor_type": "SPARSETENSOR",
    "opaque_type": "OPAQUE",
}


@dataclass(frozen=True, slots=True)
class OnnxTensor:
    """An input or output as ONNX Runtime reports it.

    Attributes:
        element: ONNX's name of its type, such as ``FLOAT``.
        dims: Its sizes, -1 for what varies.
        kind: ``TENSOR``, or what it is instead, such as ``SEQUENCE``.
        vague: Whether ONNX Runtime may find a size where ``dims`` has -1, or sizes where it has
            none.
        rival: The shape that it may report instead: of an output whose written and inferred
            shapes contradict each other, it depends on what is optimized.
    """

    element: str
    dims: tuple[int, ...] = ()
    kind: str = "TENSOR"
    vague: bool = False
    rival: tuple[int, ...] | None = None

    @property
    def is_vague(self) -> bool:
        """Whether ONNX Runtime may report another shape."""
        return self.vague or self.rival is not None

    @property
    def data_type(self) -> str:
        """Triton's name of its type, ``TYPE_INVALID`` if the backend has none."""
        return _TYPES.get(self.element, "TYPE_INVALID")

    @property
    def called(self) -> str:
        """What the backend's messages call its type."""
        return (
            self.element if self.element in _TYPES else _UNSUPPORTED.get(self.element, "UNDEFINED")
        )


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """What a file says, or why it says nothing.

    Attributes:
        problem: Why it is not a model.
        inputs: Its inputs by name.
        outputs: Its outputs.
        optional: Initializers that a client may override.
        ir_version: The version of its format.
        opsets: The version of each domain of operators; the standard one is ``""``.
        operators: Those that neither ONNX nor a function of the file defines, as (domain, name).
        external: Files beside it that hold its weights.
        made_by: The operator that computes each output.
    """

    problem: str = ""
    inputs: Mapping[str, OnnxTensor] = field(default_factory=dict)
    outputs: Mapping[str, OnnxTensor] = field(default_factory=dict)
    optional: Mapping[str, OnnxTensor] = field(default_factory=dict)
    ir_version: int = 0
    opsets: Mapping[str, int] = field(default_factory=dict)
    operators: tuple[tuple[str, str], ...] = ()
    external: tuple[str, ...] = ()
    made_by: Mapping[str, str] = field(default_factory=dict)


def read_onnx(content: bytes, *, optimized: bool = True) -> OnnxFile:
    """What a file says; never raises.

    Args:
        content: The file.
        optimized: Whether ONNX Runtime optimizes the graph, and so computes what is constant.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError, RuntimeError) as error:
        return OnnxFile(f"it is not an ONNX model: {error}")
    graph = model.graph
    if not graph.output:
        return OnnxFile("it is not an ONNX model: it has no output")
    weights = {text(one.name) for one in graph.initializer}
    weights |= {text(one.values.name) for one in graph.sparse_initializer}
    given = {text(one.name): _tensor(one.type) for one in reversed(graph.input)}
    given = dict(reversed(given.items()))
    found = output_shapes(model, fold=optimized)
    if all(_dims(one.type) is not None for one in graph.input):
        # ONNX Runtime may then know the sizes of every output, here or not
        found = {
            name: replace(one, vague=True) if _shapeless(one) else one
            for name, one in found.items()
        }
    return OnnxFile(
        inputs={name: one for name, one in given.items() if name not in weights},
        outputs=_outputs(graph, found),
        optional={
            name: one
            for name, one in given.items()
            if name in weights and model.ir_version >= _OVERRIDABLE
        },
        ir_version=model.ir_version,
        opsets={text(one.domain): one.version for one in model.opset_import},
        operators=tuple(dict.fromkeys(_foreign(model))),
        external=tuple(dict.fromkeys(_external(graph))),
        made_by=_makers(graph),
    )


def _makers(graph: Any) -> dict[str, str]:
    wanted = {one.name for one in graph.output}
    return {
        text(name): text(node.op_type)
        for node in graph.node
        for name in node.output
        if name in wanted
    }


def _shapeless(inferred: Found) -> bool:
    return inferred.type is not None and _dims(inferred.type) is None


def _outputs(graph: Any, inferred: Mapping[str, Found]) -> dict[str, OnnxTensor]:
    outputs: dict[str, OnnxTensor] = {}
    for one in graph.output:
        name = text(one.name)
        outputs.setdefault(name, _merged(one.type, inferred.get(name)))
    return outputs


def _merged(written: Any, found: Found | None) -> OnnxTensor:
    """An output's type and shape as the file writes them and as they are inferred."""
    if found is None or found.type is None:
        return replace(_tensor(written), vague=True)
    has = _tensor(written if written.WhichOneof("value") else found.type)
    if has.kind != "TENSOR":
        return has
    written_dims, inferred_dims = _dims(written), _dims(found.type)
    if written_dims is None or inferred_dims is None:
        return OnnxTensor(has.element, written_dims or inferred_dims or (), vague=found.vague)
    if len(written_dims) == len(inferred_dims):
        pairs = list(zip(written_dims, inferred_dims, strict=True))
        clashes = [n for n, (a, b) in enumerate(pairs) if a != b and -1 not in (a, b)]
        if not clashes:
            dims = tuple(b if a == -1 else a for a, b in pairs)
            return OnnxTensor(has.element, dims, vague=found.vague)
        # it merges both up to the clash, and keeps of the result what both say
        rest = tuple(a if a == b else -1 for a, b in pairs[clashes[0] :])
        rival = inferred_dims[: clashes[0]] + rest
    else:
        rival = ()
    return OnnxTensor(has.element, inferred_dims, vague=found.vague, rival=rival)


def text(value: str | bytes) -> str:
    """A string of a file: protobuf hands out what is not UTF-8 as bytes."""
    return value if isinstance(value, str) else value.decode("utf-8", errors="replace")


def _tensor(type_: Any) -> OnnxTensor:
    import onnx

    kind = _KINDS.get(type_.WhichOneof("value") or "", "UNKNOWN")
    if kind != "TENSOR":
        return OnnxTensor("", kind=kind)
    try:
        element = onnx.TensorProto.DataType.Name(type_.tensor_type.elem_type)
    except ValueError:
        element = ""
    return OnnxTensor(element, _dims(type_) or ())


def _dims(type_: Any) -> tuple[int, ...] | None:
    tensor = type_.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(
        d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else -1
        for d in tensor.shape.dim
    )


# Domains whose operators are in ONNX Runtime itself (its core/graph/constants.h). com.microsoft is
# not listed: which of its operators there are depends on the release.
_BUILT_IN = {
    "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training", "ai.onnx.training",
    "com.microsoft.dml", "com.microsoft.experimental", "com.microsoft.nchwc",
    "com.ms.internal.nhwc",
}  # fmt: skip


def _foreign(model: Any) -> Iterator[tuple[str, str]]:
    import onnx.defs

    own = {(text(one.domain), text(one.name)) for one in model.functions}
    opsets = [one.version for one in model.opset_import if one.domain in _STANDARD]
    all_known = max(opsets, default=1) <= onnx.defs.onnx_opset_version()
    for node in nodes_of(model.graph):
        domain, name = text(node.domain), text(node.op_type)
        if (domain, name) in own or domain in _BUILT_IN:
            continue
        if domain not in _STANDARD:
            yield domain, name
        elif all_known and not onnx.defs.has(name):
            yield "", name


_STANDARD = ("", "ai.onnx")


def nodes_of(graph: Any) -> Iterator[Any]:
    """The nodes of a graph and of the graphs in their attributes."""
    waiting = [graph]
    while waiting:
        for node in waiting.pop().node:
            yield node
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += attribute.graphs


def _external(graph: Any) -> Iterator[str]:
    for tensor in graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                yield text(entry.value)
