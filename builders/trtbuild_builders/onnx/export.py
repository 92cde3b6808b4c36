"""The graph as an artifact: exported or given, compared with the reference, and cached."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from trtbuild.builder import Artifact, Case, Workplace
from trtbuild.modelspec import HeadKind
from trtbuild.toolchain import onnx_runtime
from trtbuild_builders.onnx.images import image_job
from trtbuild_builders.onnx.settings import engine, is_images, settings
from trtbuild_builders.text.settings import graph, head_of, reference_settings
from trtbuild_builders.text.worker import limits, scripts, work

ARTIFACT = "graph"
GRAPH = "model.onnx"
PACKAGES = ("tokenizers/", "PIL/", "pillow.libs/")
"""Directories of what the served model imports and Triton's image lacks."""
_GIVEN = ("onnx/model.onnx", "model.onnx")
EXTERNAL_ABOVE = 2_000_000_000
"""Bytes of weights above which they are stored beside the graph; a protobuf file ends at 2 GiB."""


def given_graph(case: Case) -> str:
    """Return the graph of an ONNX-only checkpoint; empty for any other."""
    if case.spec.weights_format != "onnx" or case.checkpoint is None or is_images(case):
        return ""
    return next((name for name in _GIVEN if case.checkpoint.has(name)), "")


def graph_artifact(case: Case) -> Artifact:
    """Return the graph as an artifact, with the files for tokenizing."""
    job = _job(case)
    return Artifact(
        ARTIFACT,
        make=partial(_make, job),
        depends={**job, "scripts": scripts("onnx", "text", "shared")},
        environment="export",
        files=_files,
    )


def _job(case: Case) -> dict[str, Any]:
    chosen = engine(case)
    # The model's name does not affect its graph.
    said = {key: value for key, value in settings(case).items() if key != "core"}
    job = {
        "kind": "images" if is_images(case) else "texts",
        "settings": said,
        "graph": graph(head_of(case)),
        "given": given_graph(case),
        "runtime": _runtime(case),
        "check": chosen["check"],
        "opset": chosen["opset"],
        # TensorRT computes in fp16 from a float32 graph.
        "quantize": "" if chosen["accelerator"] == "tensorrt" else chosen["quantize"],
        "external_above": EXTERNAL_ABOVE,
        "limits": limits(chosen["quantize"], case.spec.task),
    }
    return job | (image_job(case.toolchain) if is_images(case) else _text_job(case, said))


def _text_job(case: Case, said: dict[str, Any]) -> dict[str, Any]:
    head = head_of(case)
    return {"settings": said | reference_settings(head), "pairs": head.kind is HeadKind.SCORE}


def _runtime(case: Case) -> dict[str, Any]:
    """Return what the serving image's ONNX Runtime reads; of an unknown release, anything."""
    known = onnx_runtime(case.toolchain.triton)
    if known is None or not given_graph(case):
        return {}
    name = f"ONNX Runtime {known.version} of Triton {case.toolchain.triton}"
    return {"name": name, "opset": known.opset, "ir": known.ir}


def _files(folder: Path) -> Iterable[str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    names = (path.relative_to(folder).as_posix() for path in paths)
    return sorted(name for name in names if not name.startswith(".") and name != "graph.json")


def _make(job: dict[str, Any], place: Workplace) -> None:
    """Export and compare; BuildError if either fails."""
    script = ("onnx", "export", "worker.py")
    work(
        place,
        job,
        *script,
        served="the graph",
        doing="the export to ONNX",
        given=job["given"],
        first="leave quantize out, or try fp16; " if job["quantize"] else "",
    )
