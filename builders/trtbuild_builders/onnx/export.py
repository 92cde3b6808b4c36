"""The graph as an artifact: exported or given, compared with the reference, and cached."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from trtbuild.builder import Artifact, Case, Workplace, run_worker
from trtbuild.errors import BuildError
from trtbuild.modelspec import HeadKind, Task
from trtbuild.resources import template_dir
from trtbuild.toolchain import onnx_runtime
from trtbuild_builders.onnx.settings import engine, settings
from trtbuild_builders.text.settings import SIDES, graph, head_of, is_modular

ARTIFACT = "graph"
GRAPH = "model.onnx"
PACKAGE = "tokenizers"
KEPT = "reference.json"
_GIVEN = ("onnx/model.onnx", "model.onnx")
_DIFFERS = 3
EXTERNAL_ABOVE = 2_000_000_000
"""Bytes of weights above which they are stored beside the graph; a protobuf file ends at 2 GiB."""
# By number format, and whether rows are vectors. In float32 only the order of sums differs,
# measured at 2.5e-7; int8 keeps the best label and the order of scores.
_LIMITS: Mapping[tuple[str, bool], Mapping[str, Any]] = {
    ("", True): {"max_abs": 1e-5, "cosine": 0.99999},
    ("", False): {"max_abs": 1e-4},
    ("fp16", True): {"cosine": 0.999},
    ("fp16", False): {"max_abs": 0.05},
    ("int8", True): {"mean_cosine": 0.98},
    ("int8", False): {"best": True, "order": 0.95},
}


def given_graph(case: Case) -> str:
    """Return the graph of an ONNX-only checkpoint; empty for any other."""
    if case.spec.weights_format != "onnx" or case.checkpoint is None:
        return ""
    return next((name for name in _GIVEN if case.checkpoint.has(name)), "")


def graph_artifact(case: Case) -> Artifact:
    """Return the graph as an artifact, with the files for tokenizing."""
    job = _job(case)
    scripts = sorted(path for part in ("onnx", "text") for path in template_dir(part).rglob("*.py"))
    depends = {
        **job,
        "scripts": {path.name: path.read_text(encoding="utf-8") for path in scripts},
        "texts": template_dir("text", "check", "texts.json").read_text(encoding="utf-8"),
    }
    return Artifact(
        ARTIFACT,
        make=partial(_make, job),
        depends=depends,
        environment="export",
        files=_files,
    )


def _job(case: Case) -> dict[str, Any]:
    chosen = engine(case)
    # The model's name does not affect its graph, and the reference truncates in the same way.
    said = {key: value for key, value in settings(case).items() if key != "core"}
    head = head_of(case)
    said["truncate"] = SIDES[head.truncation_side]
    said |= {"score_words": list(head.score_words), "modular": is_modular(head)}
    return {
        "settings": said,
        "graph": graph(head),
        "given": given_graph(case),
        "runtime": _runtime(case),
        "check": chosen["check"],
        "opset": chosen["opset"],
        # TensorRT computes in fp16 from a float32 graph.
        "quantize": "" if chosen["accelerator"] == "tensorrt" else chosen["quantize"],
        "external_above": EXTERNAL_ABOVE,
        "limits": _LIMITS[chosen["quantize"], case.spec.task is Task.EMBED],
        "pairs": head.kind is HeadKind.SCORE,
    }


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
    script = template_dir("onnx", "export", "worker.py")
    files = [file for file in place.files if not file.name.endswith((".bin", ".py"))]
    status, tail = run_worker(
        place.python,
        script,
        {**job, "out": str(place.out)},
        files,
        log=place.log,
        progress=place.progress,
    )
    if status:
        raise _failure(status, tail, place, job["given"])


def _failure(status: int, tail: Sequence[str], place: Workplace, given: str) -> BuildError:
    errors = tuple(line.removeprefix("ERROR: ") for line in tail if line.startswith("ERROR: "))
    where = str(place.log)
    if status == _DIFFERS:
        return BuildError(
            f"the graph of {place.source} does not answer as the reference does, so nothing was "
            "written",
            where=where,
            details=errors,
            fix="report it with the checkpoint's name; --set check=false serves it all the same",
        )
    if status in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return BuildError(
            "the export was killed, which the system does when memory runs out",
            where=where,
            fix="close other programs, or use a machine with more memory",
        )
    if given and errors:
        return BuildError(
            f"{given} of {place.source} cannot be served",
            where=where,
            details=errors,
            fix="fetch the checkpoint's safetensors, which are exported anew, or correct the graph",
        )
    last = [line for line in tail if line and not line.startswith((" ", "Traceback"))][-1:]
    return BuildError(
        f"the export to ONNX failed with exit code {status}",
        where=where,
        details=errors or tuple(last),
        fix="read the log above; the builders vllm and others may take the checkpoint",
    )
