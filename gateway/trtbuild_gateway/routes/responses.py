"""OpenAI's ``/v1/responses``, without anything that is stored between requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from trtbuild_gateway.encoding.responses import ResponsesStream
from trtbuild_gateway.failures import ApiError
from trtbuild_gateway.http.endpoint import Context
from trtbuild_gateway.routes.chat import job_of
from trtbuild_gateway.routes.generating import Job, run, streamed, text_model
from trtbuild_gateway.schema.chat import ChatRequest
from trtbuild_gateway.schema.parameters import check, typed
from trtbuild_gateway.schema.responses import ResponsesRequest, as_chat
from trtbuild_gateway.upstream.model import Model

# What OpenAI documents as the values of parameters that are not given.
_DEFAULTS: Mapping[str, Any] = {
    "temperature": 1.0, "top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
    "top_logprobs": 0, "parallel_tool_calls": True, "max_output_tokens": None,
    "max_tool_calls": None, "instructions": None, "metadata": {}, "tool_choice": "auto",
    "safety_identifier": None, "prompt_cache_key": None,
}  # fmt: skip


async def responses(context: Context) -> None:
    """Answer with the items that the model produced."""
    given = await context.body()
    ignored = check("responses", given, drop=context.drops)
    own = typed(given, ResponsesRequest)
    request = typed(as_chat(given, own), ChatRequest)
    if own.stream_options is not None:
        ignored += own.stream_options.ignored(stream=request.stream, drop=context.drops)
    context.note_ignored(ignored)
    model = await text_model(context, request.model)
    job = await _job(context, request, model)
    await context.admit(job.prompts[0].tokens or 0, job.limit)
    encoder = ResponsesStream(context.call.id, _head(given, own), await _counter(model))
    if request.stream:
        await streamed(context, job, encoder)
        return
    await run(context, job, encoder)
    await context.exchange.respond(msgspec.json.encode(encoder.result))


async def _job(context: Context, request: ChatRequest, model: Model) -> Job:
    try:
        job = await job_of(context, request, model)
    except ApiError as error:
        if (error.param or "").startswith("messages"):
            error.param = "input"
        raise
    return replace(job, wants_usage=True)


async def _counter(model: Model) -> Callable[[str], int]:
    """Return what counts the tokens of reasoning; it returns 0 without a tokenizer."""
    tokenizer = await model.prompter.tokenizer()
    if tokenizer is None:
        return lambda _: 0
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _head(given: Mapping[str, Any], own: ResponsesRequest) -> dict[str, Any]:
    """Return what the answer repeats of its request."""
    repeated = {name: given.get(name, default) for name, default in _DEFAULTS.items()}
    form = own.text.format or {"type": "text"}
    return {
        **repeated,
        "model": given["model"],
        "previous_response_id": None,
        "tools": [_tool(tool) for tool in own.tools],
        "text": {"format": form},
        "reasoning": {"effort": own.reasoning.effort, "summary": own.reasoning.summary},
        "truncation": "disabled",
        "store": False,
        "background": False,
        "service_tier": "default",
    }


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": None, "parameters": None, "strict": None, **tool}
