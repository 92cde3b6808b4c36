"""``/v1/models``, health and metrics."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import msgspec

from trtbuild_gateway.failures import of_exception, unavailable
from trtbuild_gateway.http.endpoint import Context
from trtbuild_gateway.upstream.model import Model

_READY_SECONDS = 0.5  # probes wait one second


async def models(context: Context) -> None:
    """List the models that the caller may use."""
    gateway, caller = context.gateway, context.call.caller
    catalog = gateway.catalog
    if not catalog.models:
        await catalog.refresh()
    if catalog.failures and not catalog.models:
        reason = of_exception(next(iter(catalog.failures.values()))).message
        raise unavailable(f"no model is known: {reason}", "no_model")
    if catalog.failures:
        count = f"{len(catalog.failures)} of {len(catalog.urls)}"
        context.exchange.more_headers["x-trtbuild-incomplete"] = (
            f"{count} servers cannot be reached"
        )
    listed = [
        _described(name, model)
        for name, model in sorted(catalog.models.items())
        if not model.hidden and gateway.gate.visible(caller, model.name)
    ]
    await context.exchange.respond(msgspec.json.encode({"object": "list", "data": listed}))


async def one_model(context: Context) -> None:
    """Describe one model."""
    name = str(context.exchange.scope["path_params"]["model"])
    model = await context.model(name)
    await context.exchange.respond(msgspec.json.encode(_described(name, model)))


def _described(name: str, model: Model) -> dict[str, Any]:
    served = model.served
    made: dict[str, Any] = {
        "id": name,
        "object": "model",
        "created": model.created,
        "owned_by": "trtbuild",
        "task": str(served.task),
    }
    if served.context_length:
        made["max_model_len"] = served.context_length
    if model.adapter:
        made |= {"parent": served.name, "root": model.adapter}
    elif name != served.name:
        made["root"] = served.name
    return made


async def live(context: Context) -> None:
    """Answer as long as the process works."""
    await context.exchange.respond(b"{}")


async def ready(context: Context) -> None:
    """Answer 200 while at least one model can be asked."""
    catalog = context.gateway.catalog
    if context.gateway.draining:
        raise unavailable("the gateway is shutting down", "shutting_down")
    with contextlib.suppress(TimeoutError):  # of several servers one may not answer
        async with asyncio.timeout(_READY_SECONDS):
            await catalog.refresh()
    if not catalog.models:
        raise unavailable("no model can be asked", "no_model")
    await context.exchange.respond(b"{}")


async def metrics(context: Context) -> None:
    """Return the gateway's metrics."""
    kind = "text/plain; version=0.0.4; charset=utf-8"
    await context.exchange.respond(context.gateway.metrics.page(), kind=kind)
