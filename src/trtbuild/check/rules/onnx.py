"""ONNX: the file and the configuration describe the same tensors."""

from __future__ import annotations

from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import Example
from trtbuild.check.model import Severity
from trtbuild.check.onnxbackend import refusals
from trtbuild.check.onnxfile import available
from trtbuild.check.onnxmodel import BACKEND, onnx_files


def _onnx(config: str = "", *, auto_complete: bool = False) -> Example:
    return Example(config, base="onnx", auto_complete=auto_complete)


def _input(fields: str, more: str = "") -> Example:
    return _onnx(f'input [ {{ name: "IN" data_type: TYPE_FP32 {fields} }} ]\n{more}'.strip())


def _output(fields: str) -> Example:
    return _onnx(f'output [ {{ name: "OUT" data_type: TYPE_FP32 {fields} }} ]')


@rule(
    "TRT621",
    "model.onnx is an ONNX model",
    fix="export the model again",
    backends=(BACKEND,),
    bad=Example(files={"m/1/model.onnx": b"\x12\x34 not ONNX"}, base="onnx"),
    good=_onnx(),
)
def is_onnx(model: Model) -> Problems:
    """The file is read through the package ``onnx``, which is an extra of trtbuild: without it the
    tensors of ONNX models are not compared."""
    if not available():
        yield Problem(
            "model.onnx is not looked at, because the extra is not installed",
            file="",
            severity=Severity.INFO,
            fix="pip install 'trtbuild[onnx]'",
        )
        return
    for file, onnx in onnx_files(model):
        if onnx.problem:
            yield Problem(f"{file} cannot be used: {onnx.problem}", file=file)


@rule(
    "TRT622",
    "the tensors of config.pbtxt are those of model.onnx",
    fix="write them as the file has them; leave inputs and outputs out to let the server complete",
    mirrors="ValidateInputs, ValidateOutputs",
    backends=(BACKEND,),
    bad=[
        _onnx('input [ { name: "in" data_type: TYPE_FP32 dims: [ 4 ] } ]'),
        _onnx('input [ { name: "IN" data_type: TYPE_INT64 dims: [ 4 ] } ]'),
        _input("dims: [ -1 ]"),
        _input("dims: [ 4, 1 ]"),
        _output("dims: [ -1 ]"),
        _input("dims: [ 4 ] allow_ragged_batch: true"),
        _input(
            "dims: [ 4 ]",
            'sequence_batching { control_input [ { name: "START" control [ '
            "{ kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } ] } ] }",
        ),
    ],
    good=[
        _onnx(),
        _onnx(
            "max_batch_size: 0\n" + 'input [ { name: "IN" data_type: TYPE_FP32 dims: [ 7, 4 ] } ]\n'
            'output [ { name: "OUT" data_type: TYPE_FP32 dims: [ -1, 4 ] } ]'
        ),
        _onnx("input []\noutput []", auto_complete=True),
    ],
)
def same_tensors(model: Model) -> Problems:
    """Names, types and shapes are compared as the backend does it. An input may have a fixed size
    where the file leaves it open, not the other way round; the sizes of an output must be those
    that ONNX Runtime infers, with -1 for open ones. Sequence controls, states and batch inputs are
    inputs of the file too. A warning means that ONNX Runtime may infer more than is known here."""
    complete = model.repository.options.auto_complete
    for file, onnx in onnx_files(model):
        if onnx.problem:
            continue
        for refusal in refusals(model.config, model.called, onnx, auto_complete=complete):
            yield Problem(
                refusal.message.replace("the file", file, 1),
                model.at(*refusal.path) if refusal.path else model.at("input", name=True),
                server=refusal.server,
                fix=refusal.fix,
                severity=None if refusal.sure else Severity.WARNING,
            )
