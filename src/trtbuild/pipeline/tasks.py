"""Requests of tasks other than generated text, from the command line."""

from __future__ import annotations

from dataclasses import dataclass

from trtbuild.errors import UsageError
from trtbuild.signature import ServedModel, ServedTask
from trtbuild.signature.requests import (
    ClassifyRequest,
    EmbedRequest,
    RerankRequest,
    TaskRequest,
)


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """Options of ``infer`` besides the text.

    Attributes:
        documents: Documents for a reranker.
        input_type: ``query`` or ``passage``, for an embedding model.
        dimensions: How many numbers of each vector to keep; None for all.
    """

    documents: tuple[str, ...] = ()
    input_type: str = ""
    dimensions: int | None = None


def task_request(model: ServedModel, text: str, options: TaskOptions) -> TaskRequest | None:
    """Return the request of the model's task; None if it generates text or has no task.

    Raises:
        UsageError: An option of another task, no documents for a reranker, or a task that cannot
            be requested from the command line.
    """
    _require_fitting(model, options)
    if model.task is ServedTask.EMBED:
        return EmbedRequest((text,), options.input_type, options.dimensions)
    if model.task is ServedTask.CLASSIFY:
        return ClassifyRequest((text,))
    if model.task is ServedTask.RERANK:
        if not options.documents:
            raise UsageError(
                f"no documents: {model.name!r} is a reranker",
                fix="give each with --document TEXT; the prompt is the query",
            )
        return RerankRequest(text, options.documents)
    if model.task.makes_text or model.task is ServedTask.TENSOR:
        return None
    raise UsageError(
        f"`trtbuild infer` does not support the task {model.task}",
        fix=f"`trtbuild show {model.name}` prints client code for its tensors",
    )


def _require_fitting(model: ServedModel, options: TaskOptions) -> None:
    """Raise UsageError for an option that the model's task does not use."""
    given = {
        "--document": (options.documents, ServedTask.RERANK, "rerankers"),
        "--input-type": (options.input_type, ServedTask.EMBED, "embedding models"),
        "--dimensions": (options.dimensions, ServedTask.EMBED, "embedding models"),
    }
    for name, (value, task, who) in given.items():
        if value and model.task is not task:
            raise UsageError(
                f"{name} is for {who}, and the task of {model.name!r} is {model.task}",
                fix=f"leave out {name}",
            )
