"""OpenVINO: model.xml and the configuration describe the same tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import Example
from trtbuild.check.model import Severity
from trtbuild.check.reading import is_placeholder
from trtbuild_rules.readers.graphs.openvinobackend import refusals
from trtbuild_rules.readers.graphs.refused import refused

if TYPE_CHECKING:
    from trtbuild_rules.readers.graphs.openvinofile import OpenvinoFile

_BACKEND = "openvino"


def _openvino(config: str = "") -> Example:
    return Example(config, base="openvino")


def _without_tensors(*, auto_complete: bool) -> Example:
    config = {"m/config.pbtxt": 'backend: "openvino"\nmax_batch_size: 0\n'}
    return Example(files=config, base="openvino", auto_complete=auto_complete)


def _files(model: Model) -> Iterator[tuple[str, OpenvinoFile]]:
    """The model.xml of every version that would be loaded, with its path."""
    name = model.config.default_model_filename or "model.xml"
    memo = model.repository.memo
    for version in model.served if name.endswith(".xml") else ():
        file = f"{version}/{name}"
        key = ("openvino", model.name, file)
        if key not in memo:
            memo[key] = _read(model, file)
        if memo[key] is not None:
            yield file, memo[key]


def _read(model: Model, file: str) -> OpenvinoFile | None:
    from trtbuild_rules.readers.graphs.openvinofile import read_openvino

    try:
        return read_openvino(model.read(file))
    except (FileNotFoundError, IsADirectoryError):
        return None


@rule(
    "TRT641",
    "model.xml is an OpenVINO model",
    fix="convert the model again",
    mirrors="ModelState::ReadModel",
    backends=(_BACKEND,),
    bad=[
        Example(files={"m/1/model.xml": "this is not XML"}, base="openvino"),
        Example(files={"m/1/model.xml": "<net/>"}, base="openvino"),
    ],
    good=_openvino(),
)
def is_openvino(model: Model) -> Problems:
    """It must be XML with a `net` of version 10 or 11. Its layers are not checked. A file of a few
    bytes is a placeholder, for which this is a warning."""
    for file, openvino in _files(model):
        if openvino.problem:
            yield Problem(
                f"{file} is not usable: {openvino.problem}",
                file=file,
                server="Unable to read the model",
                severity=Severity.WARNING if is_placeholder(model.path / file) else None,
            )


@rule(
    "TRT642",
    "the tensors of config.pbtxt are those of model.xml",
    fix="copy them from the file, or leave inputs and outputs out so that the server adds them",
    mirrors="ValidateInputs, ValidateOutputs",
    backends=(_BACKEND,),
    bad=[
        _openvino('input [ { name: "in" data_type: TYPE_FP32 dims: [ 1, 4 ] } ]'),
        _openvino('input [ { name: "IN" data_type: TYPE_STRING dims: [ 1, 4 ] } ]'),
        _openvino('input [ { name: "IN" data_type: TYPE_FP32 dims: [ 1, 256 ] } ]'),
        _openvino('output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 4 ] } ]'),
        _openvino("max_batch_size: 8"),
        _without_tensors(auto_complete=False),
    ],
    good=[
        _openvino(),
        _without_tensors(auto_complete=True),
        _openvino(
            "max_batch_size: 8\n"
            'input [ { name: "IN" data_type: TYPE_FP32 dims: [ 4 ] } ]\n'
            'output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 4 ] } ]'
        ),
    ],
)
def same_tensors(model: Model) -> Problems:
    """Names and sizes are compared as the backend does; it converts types. With a batch, the
    file's first dimension becomes max_batch_size, and the effect on other output sizes is not
    known. If a tensor has several names, the first in alphabetical order counts."""
    complete = model.repository.options.auto_complete
    for file, openvino in _files(model):
        if openvino.problem:
            continue
        found = refusals(model.config, model.called, openvino, auto_complete=complete)
        yield from refused(model, file, found)
