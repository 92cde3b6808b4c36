"""ONNX: the release's ONNX Runtime has every operator of the file."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from packaging.version import Version

from trtbuild import toolchain
from trtbuild.check.context import Model
from trtbuild.check.engine import Problem, Problems, rule
from trtbuild.check.examples import Example, onnx_file
from trtbuild_rules.readers.graphs.onnxmodel import BACKEND, onnx_files

if TYPE_CHECKING:
    from trtbuild_rules.readers.graphs.onnxfile import OnnxFile


def _file(operator: str, domain: str = "", triton: str = "") -> Example:
    file = partial(onnx_file, operator=operator, domain=domain)
    return Example(files={"m/1/model.onnx": file}, base="onnx", triton=triton)


@rule(
    "TRT624",
    "ONNX Runtime has every operator of the file",
    fix="name its library in model_operations { op_library_filename }, or export the model "
    "without it",
    backends=(BACKEND,),
    bad=[
        _file(operator="Mine", domain="my.ops"),
        _file(operator="ATen", domain="org.pytorch.aten"),
        _file(operator="BatchedNMS_TRT"),
        _file(operator="PagedAttention", domain="com.microsoft", triton="25.05"),
    ],
    good=[
        Example(base="onnx"),
        _file(operator="Gelu", domain="com.microsoft", triton="25.05"),
        replace(
            _file(operator="Mine", domain="my.ops"),
            config='model_operations { op_library_filename: "/opt/libmine.so" }',
        ),
    ],
)
def known_operators(model: Model) -> Problems:
    """Operators of other domains need a library of their own; TensorRT plugins that exporters put
    into the standard domain run under the TensorRT accelerator only. ONNX Runtime's own domain
    (``com.microsoft``), which its optimizer writes, gains operators with its versions."""
    accelerators = model.config.optimization.execution_accelerators.gpu_execution_accelerator
    if model.config.model_operations.op_library_filename or accelerators:
        return
    own, tensorrt = map(toolchain.onnx_operators, ("own", "tensorrt"))
    for file, onnx in onnx_files(model):
        for domain, name in onnx.operators:
            if domain == "com.microsoft":
                yield from _contrib(model, file, name)
            elif domain or name not in own:
                yield Problem(
                    f"{file} uses the operator {f'{domain}:{name}' if domain else name}, which "
                    f"{'runs in TensorRT only' if name in tensorrt else 'ONNX Runtime lacks'}",
                    file=file,
                    server="" if name in tensorrt else _unregistered(domain, name, onnx),
                )


def _contrib(model: Model, file: str, name: str) -> Problems:
    """An operator of ``com.microsoft`` that the release's ONNX Runtime does not have."""
    runtime, since = toolchain.onnx_runtime(model.judged_as[0]), toolchain.onnx_contrib(name)
    if runtime is None or (since and Version(since) <= Version(runtime.version)):
        return
    newer = (
        release
        for release, version in toolchain.onnx_runtimes().items()
        if since and Version(version) >= Version(since)
    )
    release = next(newer, "")
    yield Problem(
        f"{file} uses the operator com.microsoft:{name}, which the ONNX Runtime "
        f"{runtime.version} of Triton {model.judged_as[0]} lacks",
        file=file,
        server=f"com.microsoft:{name}(-1) is not a registered function/op",
        fix=f"use Triton {release} or newer, or export the model without it" if release else "",
    )


def _unregistered(domain: str, name: str, onnx: OnnxFile) -> str:
    if not domain:
        return f"No Op registered for {name} with domain_version of"
    if domain not in onnx.opsets:
        return f"No opset import for domain '{domain}'"
    return f"{domain}:{name}(-1) is not a registered function/op"
