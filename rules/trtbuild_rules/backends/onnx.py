"""ONNX: the file and the configuration describe the same tensors."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from trtbuild import toolchain
from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import Example, onnx_file
from trtbuild.check.model import Severity
from trtbuild.check.reading import is_placeholder
from trtbuild_rules.readers.graphs.onnxbackend import refusals
from trtbuild_rules.readers.graphs.onnxmodel import BACKEND, available, onnx_files
from trtbuild_rules.readers.graphs.refused import refused

if TYPE_CHECKING:
    from trtbuild.toolchain import OnnxRuntime
    from trtbuild_rules.readers.graphs.onnxfile import OnnxFile


def _onnx(config: str = "") -> Example:
    return Example(config, base="onnx")


def _without_tensors(*, auto_complete: bool) -> Example:
    config = {"m/config.pbtxt": 'backend: "onnxruntime"\nmax_batch_size: 8\n'}
    return Example(files=config, base="onnx", auto_complete=auto_complete)


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
    good=[
        _onnx(),
        Example('default_model_filename: "net.ort"', {"m/1/net.ort": b"\x1c\0\0\0ORTM"}, "onnx"),
    ],
)
def is_onnx(model: Model) -> Problems:
    """The file is read through the package ``onnx``, which is an extra of trtbuild: without it the
    tensors of ONNX models are not compared. Files in ONNX Runtime's own format (``.ort``) are not
    looked at. A file of a few bytes is a placeholder, for which this is a warning."""
    if not available():
        first = model.repository.memo.setdefault("without the extra onnx", model.name)
        if first != model.name:
            return
        yield Problem(
            "ONNX models are not checked, because the extra is not installed",
            file="",
            severity=Severity.INFO,
            fix="pip install 'trtbuild[onnx]'",
        )
        return
    for file, onnx in onnx_files(model):
        if onnx.problem:
            short = is_placeholder(model.path / file)
            yield Problem(
                f"{file} is not usable: {onnx.problem}",
                file=file,
                severity=Severity.WARNING if short else None,
            )


@rule(
    "TRT622",
    "the tensors of config.pbtxt are those of model.onnx",
    fix="copy them from the file, or leave inputs and outputs out so that the server adds them",
    mirrors="ValidateInputs, ValidateOutputs",
    backends=(BACKEND,),
    bad=[
        _onnx('input [ { name: "in" data_type: TYPE_FP32 dims: [ 4 ] } ]'),
        _onnx('input [ { name: "IN" data_type: TYPE_INT64 dims: [ 4 ] } ]'),
        _input("dims: [ -1 ]"),
        _input("dims: [ 4, 1 ]"),
        _output("dims: [ -1 ]"),
        _input("dims: [ 4 ] allow_ragged_batch: true"),
        _without_tensors(auto_complete=False),
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
        _without_tensors(auto_complete=True),
    ],
)
def same_tensors(model: Model) -> Problems:
    """Names, types and shapes are compared as the backend does. An input may have a fixed size
    where the file leaves it open, not the other way round; the sizes of an output must be those
    that ONNX Runtime infers, with -1 for open ones. Sequence controls, states and batch inputs are
    inputs of the file too. A warning means that ONNX Runtime may infer more than trtbuild."""
    complete = model.repository.options.auto_complete
    for file, onnx in onnx_files(model):
        if onnx.problem:
            continue
        found = refusals(model.config, model.called, onnx, auto_complete=complete)
        yield from refused(model, file, found)


def _file(**made: Any) -> Example:
    return Example(files={"m/1/model.onnx": partial(onnx_file, **made)}, base="onnx")


@rule(
    "TRT623",
    "the release's ONNX Runtime reads files of this version",
    fix="export the model with a lower opset, or use a newer Triton",
    backends=(BACKEND,),
    bad=[
        replace(_file(ir=11), triton="25.05"),
        replace(_file(opset=24), triton="25.05"),
        _file(opset=90),
    ],
    good=[replace(_file(ir=10, opset=22), triton="25.05"), _onnx()],
)
def readable_version(model: Model) -> Problems:
    """A file states the version of its format (IR) and of its operators (opset); exporters write
    their newest. Each release of ONNX Runtime reads files up to its own."""
    runtime = toolchain.onnx_runtime(model.judged_as[0])
    if runtime is None:
        return
    for file, onnx in onnx_files(model):
        if not onnx.problem:
            yield from _versions(model, file, onnx, runtime)


def _versions(model: Model, file: str, onnx: OnnxFile, runtime: OnnxRuntime) -> Iterator[Problem]:
    here = f"the ONNX Runtime {runtime.version} of Triton {model.judged_as[0]} reads up to"
    if onnx.ir_version > runtime.ir:
        yield Problem(
            f"{file} has the IR version {onnx.ir_version}; {here} {runtime.ir}",
            file=file,
            server=f"Unsupported model IR version: {onnx.ir_version}, max supported IR version: "
            f"{runtime.ir}",
            fix=f"set its ir_version to {runtime.ir} and save it again"
            f"{_newer('ir', onnx.ir_version)}",
        )
    for domain, field in (("ai.onnx", "opset"), ("ai.onnx.ml", "ml")):
        opset = max(onnx.opsets.get(domain, 0), onnx.opsets.get("", 0) if field == "opset" else 0)
        most = getattr(runtime, field)
        if opset > most:
            yield Problem(
                f"{file} has the opset {opset} of {domain}; {here} {most}",
                file=file,
                server=f"Current official support for domain {domain} is till opset {most}.",
                fix=f"export it with opset {most}{_newer(field, opset)}",
            )


def _newer(field: str, version: int) -> str:
    """Which Triton reads a version, as the end of a fix."""
    for release in toolchain.onnx_runtimes():
        runtime = toolchain.onnx_runtime(release)
        if runtime and getattr(runtime, field) >= version:
            return f", or use Triton {release} or newer"
    return ""


def _accelerator(fields: str, group: str = "", kind: str = "gpu") -> Example:
    field = f"{kind}_execution_accelerator [ {{ {fields} }} ]"
    return _onnx(f"optimization {{ execution_accelerators {{ {field} }} }}\n{group}".strip())


_ON_CPU = "instance_group [ { kind: KIND_CPU } ]"


@rule(
    "TRT625",
    "the backend has every accelerator and its parameters",
    fix="correct the name, or remove it",
    mirrors="ModelState::LoadModel",
    backends=(BACKEND,),
    bad=[
        _accelerator('name: "tensortr"'),
        _accelerator('name: "gpu_io"'),
        _accelerator('name: "tensorrt"', kind="cpu"),
        _accelerator('name: "tensorrt" parameters { key: "precision" value: "FP16" }'),
        _accelerator('name: "tensorrt" parameters { key: "precision_mode" value: "fp16" }'),
    ],
    good=[
        _accelerator('name: "tensorrt" parameters { key: "precision_mode" value: "FP16" }'),
        _accelerator('name: "cuda" parameters { key: "cudnn_conv_use_max_workspace" value: "0" }'),
        _accelerator('name: "openvino"', kind="cpu"),
        _accelerator('name: "gpu_io"', _ON_CPU),
    ],
)
def known_accelerators(model: Model) -> Problems:
    """``optimization { execution_accelerators }`` names what runs the model: ``tensorrt`` or
    ``cuda`` on a GPU, ``openvino`` on a CPU. The backend refuses other names, and other parameters
    of TensorRT. GPU accelerators are not checked if all instances run on CPUs."""
    named = model.config.optimization.execution_accelerators
    for kind in ("gpu", "cpu") if _may_use_gpu(model) else ("cpu",):
        field = f"{kind}_execution_accelerator"
        for number, one in enumerate(getattr(named, field)):
            at = ("optimization", 0, "execution_accelerators", 0, field, number)
            yield from _of_accelerator(model, one, kind, at)


def _may_use_gpu(model: Model) -> bool:
    groups = model.config.instance_group
    on_cpu = groups and all(type(group).Kind.Name(group.kind) == "KIND_CPU" for group in groups)
    return not on_cpu and model.repository.options.gpus != 0


def _of_accelerator(
    model: Model, accelerator: Any, kind: str, at: tuple[str | int, ...]
) -> Problems:
    names = toolchain.onnx_accelerators(kind)
    if accelerator.name not in names:
        yield Problem(
            f"the ONNX backend has no accelerator {accelerator.name!r} for {kind.upper()}s, only "
            f"{' and '.join(names)}",
            model.at(*at, "name"),
            server=f"unknown Execution Accelerator '{accelerator.name}' is requested",
        )
        return
    if accelerator.name == "tensorrt":
        for name, value in sorted(accelerator.parameters.items()):
            yield from _of_tensorrt(model, name, value, at)


_PRECISION = "precision_mode"


def _of_tensorrt(model: Model, name: str, value: str, at: tuple[str | int, ...]) -> Problems:
    known = toolchain.onnx_accelerators("tensorrt")
    precisions = toolchain.onnx_accelerators(_PRECISION)
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        yield Problem(
            f"the accelerator 'tensorrt' has no parameter {name!r}"
            + (f"; did you mean {near[0]!r}?" if near else ""),
            model.at(*at, "parameters"),
            server=f"unknown parameter '{name}' is provided for TensorRT Execution Accelerator",
        )
    elif name == _PRECISION and value not in precisions:
        yield Problem(
            f"the accelerator 'tensorrt' has no {_PRECISION} {value!r}",
            model.at(*at, "parameters"),
            server=f"unsupported precision mode '{value}' is requested",
            fix=f"write one of {', '.join(precisions)}",
        )
