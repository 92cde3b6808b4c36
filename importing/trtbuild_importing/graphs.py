"""The model file of an archive as a model of its own: its backend, its tensors, its files."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trtbuild import pbtxt
from trtbuild.errors import UnsupportedError, UsageError
from trtbuild_importing.manifest import Manifest
from trtbuild_importing.options import ImportOptions

_DICTIONARIES = ("image_segmenter", "object_detector")
"""Handlers whose model returns a dictionary: only PyTorch on the Python backend can pass one on."""
_IMAGE = ("FP32[3,224,224]", "FP32[-1]")
_NUMPY = {
    "TYPE_BOOL": "bool", "TYPE_UINT8": "uint8", "TYPE_UINT16": "uint16", "TYPE_UINT32": "uint32",
    "TYPE_UINT64": "uint64", "TYPE_INT8": "int8", "TYPE_INT16": "int16", "TYPE_INT32": "int32",
    "TYPE_INT64": "int64", "TYPE_FP16": "float16", "TYPE_FP32": "float32", "TYPE_FP64": "float64",
    "TYPE_STRING": "object",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Graph:
    """A model file with a backend.

    Attributes:
        backend: ``onnxruntime`` or ``pytorch``.
        inputs: As config.pbtxt has them, without the batch.
        outputs: Likewise.
        batches: Whether its first dimension may vary.
        files: Of the archive, by their names in the version directory.
    """

    backend: str
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    batches: bool
    files: Mapping[str, str]

    def described(self, name: str) -> dict[str, Any]:
        """Return what the handler's model needs to know."""
        return {
            "name": name,
            "inputs": [_row(one) for one in self.inputs],
            "outputs": [_row(one) for one in self.outputs],
        }


def graph_of(manifest: Manifest, options: ImportOptions) -> Graph | None:
    """Return the graph of an archive; None if its handler loads the model in Python.

    Raises:
        UsageError: A wrong or missing --input or --output.
        UnsupportedError: An ONNX file that cannot be read, or that its handler cannot use.
    """
    file, handler = manifest.serialized, manifest.handler
    inputs, outputs = options.tensors()
    if manifest.model_file or handler.loads_model:
        return None
    if handler.name in _DICTIONARIES and (inputs or not file.endswith(".pt")):
        raise UnsupportedError(
            f"TorchServe's handler {handler.name} needs the dictionary that a model of PyTorch "
            "returns",
            where=f"MAR-INF/MANIFEST.json: serializedFile {file or 'is missing'}",
            fix="build the archive with an eager model or TorchScript, and leave --input and "
            "--output out",
        )
    if file.endswith(".onnx"):
        return _onnx(manifest)
    if not file.endswith(".pt"):
        return None
    if not inputs and handler.name == "image_classifier":
        inputs, outputs = ImportOptions(
            archive=options.archive, input=_IMAGE[:1], output=_IMAGE[1:]
        ).tensors()
    if not inputs:
        return None
    return Graph("pytorch", inputs, outputs, batches=True, files={file: "model.pt"})


def _onnx(manifest: Manifest) -> Graph:
    from trtbuild_rules.readers.graphs.onnxfile import OnnxTensor, read_onnx
    from trtbuild_rules.readers.graphs.onnxmodel import available
    from trtbuild_rules.readers.graphs.onnxslim import without_weights

    if not available():
        raise UsageError(
            "the tensors of an ONNX file are read with onnx, which is not installed",
            fix="pip install 'trtbuild[onnx]'",
        )
    path = manifest.folder / manifest.serialized
    try:
        with (
            path.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            found = read_onnx(without_weights(content))
    except ValueError as error:  # an empty file
        raise _unreadable(manifest, str(error)) from None
    if found.problem or not (found.inputs and found.outputs):
        raise _unreadable(manifest, found.problem or "it has no inputs or no outputs")
    every = [*found.inputs.values(), *found.outputs.values()]
    if any(one.kind != "TENSOR" or one.data_type not in _NUMPY for one in every):
        raise _unreadable(manifest, "an input or output is not a tensor of a type that Triton has")
    missing = [name for name in found.external if not (manifest.folder / name).is_file()]
    if missing:
        raise _unreadable(manifest, f"its weights are in {missing[0]}, which is not there")
    batches = all(one.dims and one.dims[0] == -1 for one in every)

    def rows(tensors: Mapping[str, OnnxTensor]) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "data_type": pbtxt.data_type(one.data_type),
                "dims": list(one.dims[1:] if batches else one.dims),
            }
            for name, one in tensors.items()
        ]

    files = {manifest.serialized: "model.onnx", **{name: name for name in found.external}}
    return Graph("onnxruntime", rows(found.inputs), rows(found.outputs), batches, files)


def _unreadable(manifest: Manifest, why: str) -> UnsupportedError:
    return UnsupportedError(
        f"{manifest.serialized} cannot be served by ONNX Runtime: {why}",
        fix="export it again; --keep-handler imports it as a file of the handler",
    )


def _row(tensor: Mapping[str, Any]) -> dict[str, Any]:
    name = pbtxt.data_type_name(tensor["data_type"])
    return {
        "name": tensor["name"],
        "dims": tensor["dims"],
        "numpy": str(np.dtype(_NUMPY.get(name, "object"))),
    }
