"""Anthropic's ``/v1/messages`` and ``/v1/messages/count_tokens``."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from trtbuild_gateway.encoding.messages import (
    MessagesStream,
    content_of,
    message_of,
    stop_reason,
    usage_of,
)
from trtbuild_gateway.failures import ApiError, invalid
from trtbuild_gateway.http.endpoint import Context
from trtbuild_gateway.routes.asking import check_parameters
from trtbuild_gateway.routes.chat import choice_of, job_of
from trtbuild_gateway.routes.generating import Job, streamed, text_model, whole
from trtbuild_gateway.schema.chat import ChatRequest
from trtbuild_gateway.schema.messages import as_chat
from trtbuild_gateway.schema.parameters import check, typed


async def messages(context: Context) -> None:
    """Answer a chat in Anthropic's form."""
    given = await context.body()
    check_parameters(context, "messages", given)
    request, job = await _job(context, as_chat(given))
    prompt = job.prompts[0].tokens or 0
    await context.admit(prompt, job.limit)
    id = f"msg_{context.call.id}"
    if request.stream:
        encoder = MessagesStream(id, request.model, prompt)
        await streamed(context, replace(job, wants_usage=True), encoder)
        return
    choices = await whole(context, job)
    choice = choice_of(choices[0], job)
    counts = job.counts(choices)
    reason = stop_reason(choice["finish_reason"])
    usage = usage_of(counts["prompt_tokens"], counts["completion_tokens"])
    body = message_of(id, request.model, content_of(choice["message"]), reason, usage)
    await context.exchange.respond(msgspec.json.encode(body))


async def count_tokens(context: Context) -> None:
    """Count the tokens of a prompt."""
    given = {**await context.body(), "max_tokens": 1}
    check("messages", given)
    _, job = await _job(context, as_chat(given))
    tokens = job.prompts[0].tokens
    if tokens is None:
        await job.model.prompter.required_tokenizer()
        raise ApiError(501, "the tokens cannot be counted", code="no_tokenizer")
    await context.admit(tokens)
    await context.exchange.respond(msgspec.json.encode({"input_tokens": tokens}))


async def _job(context: Context, chat: dict[str, object]) -> tuple[ChatRequest, Job]:
    request = typed(chat, ChatRequest)
    model = await text_model(context, request.model)
    try:
        return request, await job_of(context, request, model)
    except ApiError as error:
        if error.param == "thinking_token_budget":
            raise invalid(
                f"the engine of {model.name!r} cannot limit thinking: use 'thinking' of type "
                "'adaptive' or 'disabled'",
                "thinking",
                "unsupported_parameter",
            ) from None
        raise
