"""The public tensors of text models: those of NVIDIA's NIM retriever if it has the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from trtbuild import pbtxt
from trtbuild.builder import Case
from trtbuild.modelspec import HeadKind
from trtbuild.plan import RepoFile
from trtbuild.resources import template_dir
from trtbuild_builders.text.settings import head_of

Row = dict[str, Any]
_STRING, _INT32, _FP32 = "TYPE_STRING", "TYPE_INT32", "TYPE_FP32"
_HEADER = """\
{name}: {what}
Written by trtbuild for Triton {triton}. Change the recipe (trtbuild.yaml, --set) and convert again
rather than edit this file: trtbuild.lock has its digest."""


def config_file(case: Case, config: Any, what: str) -> RepoFile:
    """Return ``config.pbtxt`` with a header that says what the model is."""
    header = _HEADER.format(name=config.name, what=what, triton=case.toolchain.triton)
    return RepoFile("config.pbtxt", pbtxt.render(config, header=header).encode())


def batching_config(
    case: Case, chosen: Mapping[str, Any], rows: tuple[list[Row], list[Row]], kind: str
) -> Any:
    """Return the configuration of a Python model whose requests the server collects.

    Args:
        case: For the model's name.
        chosen: The builder's settings: ``max_batch_size``, ``instances``, and the queue's delay.
        rows: Public inputs and outputs.
        kind: Of its instances, such as ``KIND_CPU``.
    """
    return pbtxt.model_config(
        name=case.recipe.name,
        backend="python",
        max_batch_size=chosen["max_batch_size"],
        input=rows[0],
        output=rows[1],
        instance_group=[{"count": chosen["instances"], "kind": kind}],
        dynamic_batching={"max_queue_delay_microseconds": chosen["max_queue_delay_microseconds"]},
    )


def tensors(case: Case) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return public inputs and outputs: those of NVIDIA's NIM retriever if it has the task."""
    head = head_of(case)
    text, counts = row("text", _STRING, 1), row("token_count", _INT32, 1)
    labels = len(head.labels) or -1
    pair = {**row("text_pair", _STRING, 1), "optional": True}
    inputs, outputs = {
        # The size depends on the parameters dimensions and embedding_type.
        HeadKind.DENSE: ([text], [row("embeddings", _FP32, -1)]),
        HeadKind.SPARSE: ([text], [row("indices", _INT32, -1), row("values", _FP32, -1)]),
        HeadKind.MULTI_VECTOR: (
            [text],
            [row("token_embeddings", _FP32, -1, width(case)), row("vector_count", _INT32, 1)],
        ),
        HeadKind.SCORE: (
            [row("query", _STRING, 1), row("passage", _STRING, 1)],
            [row("index", _INT32, 1), row("logit", _FP32, 1), row("score", _FP32, 1)],
        ),
        HeadKind.LABELS: ([text, pair], [row("scores", _FP32, labels), row("label", _STRING, 1)]),
        HeadKind.TOKEN_LABELS: (
            [text],
            [row("entities", _STRING, 1), row("scores", _FP32, -1, labels)],
        ),
    }[head.kind]
    return inputs, [*outputs, counts]


def core_dims(case: Case) -> tuple[int, ...]:
    """Return the dimensions of a row of the graph's output."""
    head = head_of(case)
    rows = {
        HeadKind.MULTI_VECTOR: (-1, width(case)),
        HeadKind.TOKEN_LABELS: (-1, len(head.labels) or -1),
        HeadKind.SCORE: (1,),
        HeadKind.LABELS: (len(head.labels) or -1,),
        HeadKind.IMAGE_LABELS: (len(head.labels) or -1,),
    }
    return rows.get(head.kind, (width(case),))


def width(case: Case) -> int:
    head = head_of(case)
    return head.truncate_dimension or head.dimension or -1


def row(name: str, kind: str, *dims: int) -> dict[str, Any]:
    return {"name": name, "data_type": kind, "dims": list(dims)}


@cache
def model_files(*parts: str) -> Sequence[RepoFile]:
    """Return the modules of a served model in ``templates/<part>/model``, byte for byte."""
    paths = sorted(path for part in parts for path in template_dir(part, "model").glob("*.py"))
    return tuple(RepoFile(f"1/{path.name}", path.read_bytes()) for path in paths)
