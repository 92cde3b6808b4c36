"""The public tensors of text models: those of NVIDIA's NIM retriever if it has the task."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from trtbuild import pbtxt
from trtbuild.builder import Case
from trtbuild.modelspec import Task
from trtbuild.plan import RepoFile
from trtbuild.resources import template_dir
from trtbuild_builders.text.settings import head_of

_STRING, _INT32, _FP32 = "TYPE_STRING", "TYPE_INT32", "TYPE_FP32"
_HEADER = """\
{name}: {what}
Written by trtbuild for Triton {triton}. Change the recipe (trtbuild.yaml, --set) and convert again
rather than edit this file: trtbuild.lock has its digest."""


def config_file(case: Case, config: Any, what: str) -> RepoFile:
    """Return ``config.pbtxt`` with a header that says what the model is."""
    header = _HEADER.format(name=config.name, what=what, triton=case.toolchain.triton)
    return RepoFile("config.pbtxt", pbtxt.render(config, header=header).encode())


def tensors(case: Case) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return public inputs and outputs: those of NVIDIA's NIM retriever if it has the task."""
    task = case.spec.task
    counts = row("token_count", _INT32, 1)
    if task is Task.EMBED:
        # The size depends on the parameters dimensions and embedding_type.
        return [row("text", _STRING, 1)], [row("embeddings", _FP32, -1), counts]
    if task is Task.RERANK:
        inputs = [row("query", _STRING, 1), row("passage", _STRING, 1)]
        outputs = [row("index", _INT32, 1), row("logit", _FP32, 1), row("score", _FP32, 1)]
        return inputs, [*outputs, counts]
    pair = {**row("text_pair", _STRING, 1), "optional": True}
    outputs = [row("scores", _FP32, width(case)), row("label", _STRING, 1), counts]
    return [row("text", _STRING, 1), pair], outputs


def width(case: Case) -> int:
    head = head_of(case)
    if case.spec.task is Task.EMBED:
        return head.truncate_dimension or head.dimension or -1
    return 1 if case.spec.task is Task.RERANK else len(head.labels) or -1


def row(name: str, kind: str, *dims: int) -> dict[str, Any]:
    return {"name": name, "data_type": kind, "dims": list(dims)}


@cache
def model_files(*parts: str) -> Sequence[RepoFile]:
    """Return the modules of a served model in ``templates/<part>/model``, byte for byte."""
    paths = sorted(path for part in parts for path in template_dir(part, "model").glob("*.py"))
    return tuple(RepoFile(f"1/{path.name}", path.read_bytes()) for path in paths)
