"""What endpoints share: checked parameters, and tasks without generated text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from trtbuild.signature import ServedTask
from trtbuild.signature.requests import TaskAnswer, TaskRequest
from trtbuild_gateway.failures import ApiError, invalid
from trtbuild_gateway.http.endpoint import Context
from trtbuild_gateway.schema.parameters import check, typed
from trtbuild_gateway.upstream.model import Model

_Made = TypeVar("_Made")
_Answer = TypeVar("_Answer", bound=TaskAnswer)


def check_parameters(context: Context, endpoint: str, given: Mapping[str, Any]) -> None:
    """Refuse parameters that mean nothing here, or name them if they are to be dropped."""
    context.note_ignored(check(endpoint, given, drop=context.drops))


async def parsed(context: Context, endpoint: str, kind: type[_Made]) -> _Made:
    """Return the request, its parameters checked."""
    given = await context.body()
    check_parameters(context, endpoint, given)
    return typed(given, kind)


async def model_for(context: Context, name: str, *tasks: ServedTask) -> Model:
    """Return a model of one of these tasks; ApiError for another."""
    model = await context.model(name)
    if model.served.task not in tasks:
        wanted = " or ".join(map(str, tasks))
        raise invalid(
            f"the model {name!r} cannot do this: its task is {model.served.task}, not {wanted}",
            "model",
            "unsupported_task",
        )
    return model


async def asked(
    context: Context, model: Model, request: TaskRequest, kind: type[_Answer]
) -> _Answer:
    """Return the model's answer, unless the client leaves first."""
    async with context.exchange.watched():
        answer = await model.backend.ask(request, context.upstream_headers())
    if not isinstance(answer, kind):
        name = type(answer).__name__
        raise ApiError(502, f"the model {model.name!r} answered with {name}", code="upstream_error")
    return answer


def total(context: Context, counts: Sequence[int]) -> dict[str, int]:
    """Return ``usage`` of a request without generated tokens."""
    context.outcome.prompt_tokens = sum(counts)
    return {"prompt_tokens": sum(counts), "total_tokens": sum(counts)}
