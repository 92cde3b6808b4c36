"""The ONNX files of a model of a repository."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from trtbuild.check.context import Model
from trtbuild.check.reading import open_inside
from trtbuild_rules.readers.graphs.onnxbackend import completed

if TYPE_CHECKING:
    from trtbuild_rules.readers.graphs.onnxfile import OnnxFile

BACKEND = "onnxruntime"
_OTHER_FORMAT = ".ort"  # ONNX Runtime's own, which it tells by the name; not read here
_NOT_OPTIMIZED = 2  # optimization { graph { level } } at which the backend turns all of it off


@cache
def available() -> bool:
    """Whether the extra ``onnx`` is installed."""
    from importlib.util import find_spec

    return find_spec("onnx") is not None


def onnx_files(model: Model) -> Iterator[tuple[str, OnnxFile]]:
    """The ONNX file of every version that would be loaded, with its path in the model's
    directory. None when the extra is not installed."""
    if model.config is None or not available():
        return
    optimized = model.config.optimization.graph.level != _NOT_OPTIMIZED
    memo = model.repository.memo
    for version in model.served:
        file = f"{version}/{model.config.default_model_filename or 'model.onnx'}"
        if (model.path / file).is_dir():  # the backend then takes model.onnx in it
            file = f"{file}/model.onnx"
        if file.lower().endswith(_OTHER_FORMAT):
            continue
        key = ("onnx", model.name, file)
        if key not in memo:
            memo[key] = _read(model, file, optimized=optimized)
        if memo[key] is not None:
            yield file, memo[key]


def _read(model: Model, file: str, *, optimized: bool) -> OnnxFile | None:
    from trtbuild_rules.readers.graphs.onnxfile import read_onnx
    from trtbuild_rules.readers.graphs.onnxslim import without_weights

    try:
        with open_inside(model.path / file, model.repository.root) as stream:
            if not os.fstat(stream.fileno()).st_size:
                return None  # another rule reports it
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                slim = without_weights(content)
    except FileNotFoundError:
        return None
    return read_onnx(slim, optimized=optimized)


def completed_config(model: Model) -> Any | None:
    """The ``ModelConfig`` of an ONNX model as the backend completes it from its newest version's
    file; None when that is not known. Says nothing of whether the backend loads it."""
    files = [file for _, file in onnx_files(model) if not file.problem]
    if not files:
        return None
    if any(
        one.kind != "TENSOR" for one in (*files[-1].inputs.values(), *files[-1].outputs.values())
    ):
        return None
    return completed(model.config, files[-1])
