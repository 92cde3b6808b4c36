"""From a checkpoint to its first answer: convert, validate, serve, ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trtbuild import server
from trtbuild.client import Answer, LLMClient, Sampling, collect
from trtbuild.pipeline.convert import ConvertResult, convert
from trtbuild.pipeline.serve import ServePlan, prepare, start
from trtbuild.progress import SILENT, Progress
from trtbuild.recipe import ModelRecipe
from trtbuild.server import LaunchOptions, ServerHandle
from trtbuild.signature import ServedModel
from trtbuild.signature.requests import TaskAnswer, TaskRequest


@dataclass(frozen=True, slots=True)
class Up:
    """The result. ``server`` is running; stop it with :func:`trtbuild.server.stop`."""

    converted: ConvertResult
    plan: ServePlan
    server: ServerHandle


def up(
    recipe: ModelRecipe,
    *,
    repository: Path,
    triton: str,
    mode: str,
    options: LaunchOptions,
    timeout: float,
    progress: Progress = SILENT,
    on_line: Callable[[str], None] = lambda _: None,
) -> Up:
    """Convert one model into ``repository`` and serve the repository."""
    converted = convert(recipe, repository=repository, triton=triton, progress=progress)
    plan = prepare(repository, mode=mode, options=options, progress=progress)
    handle = start(plan, timeout=timeout, progress=progress, on_line=on_line)
    return Up(converted, plan, handle)


def ask(
    handle: ServerHandle,
    model: str,
    prompt: str,
    sampling: Sampling,
    *,
    timeout: float,
    on_text: Callable[[str], None],
) -> Answer:
    """Stream one answer."""
    with LLMClient(handle.grpc_url) as client:
        chunks = client.generate(model, prompt, sampling, timeout=timeout)
        try:
            return collect(chunks, on_text)
        finally:
            chunks.close()


def ask_task(
    handle: ServerHandle, model: ServedModel, request: TaskRequest, *, timeout: float
) -> TaskAnswer:
    """Like :func:`ask`, for a task other than generation."""
    with LLMClient(handle.grpc_url, card=lambda _: model) as client:
        return client.ask(model.name, request, timeout=timeout)


def stop(handle: ServerHandle) -> None:
    """Stop the server that :func:`up` started."""
    server.stop(handle)
