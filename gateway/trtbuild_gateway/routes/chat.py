"""``/v1/chat/completions``."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from trtbuild_gateway.answers import Choice
from trtbuild_gateway.encoding.chunks import ChatStream, Identity, body
from trtbuild_gateway.encoding.logprobs import chat_logprobs
from trtbuild_gateway.http.endpoint import Context
from trtbuild_gateway.prompts.media import take_images
from trtbuild_gateway.routes.generating import (
    Job,
    answer_limit,
    bytes_of,
    checked_count,
    numbered,
    request_of,
    streamed,
    taken,
    text_request,
    whole,
)
from trtbuild_gateway.routes.parsed import (
    message_of,
    parsing_of,
    plain_message,
    shaped,
    whole_message,
)
from trtbuild_gateway.routes.readers import Logprobs
from trtbuild_gateway.schema.chat import ChatRequest, checked_messages
from trtbuild_gateway.schema.tools import tool_plan
from trtbuild_gateway.upstream.model import Model

_DESCRIBING = frozenset(("description",))  # other texts of a tool are names and schemas


async def chat(context: Context) -> None:
    """Answer a chat."""
    request, model = await text_request(context, "chat", ChatRequest)
    checked_count(context, request.n)
    job = await job_of(context, request, model)
    await context.admit(job.prompts[0].tokens or 0, job.limit * request.n)
    identity = Identity(f"chatcmpl-{context.call.id}", int(time.time()), request.model)
    if request.stream:
        encoder = ChatStream(identity, usage=request.wants_usage)
        await streamed(context, job, encoder)
        return
    choices = await whole(context, job)
    made = [choice_of(choice, job) for choice in choices]
    counts = job.counts(choices)
    content = body("chat.completion", identity, made, counts)
    await context.exchange.respond(content)


async def job_of(context: Context, request: ChatRequest, model: Model) -> Job:
    """Return what to generate for a chat."""
    messages, images = await take_images(
        checked_messages(request.messages), context.gateway.settings.media
    )
    texts = context.call.texts
    messages = await texts.prompts(messages)
    variables = {
        **_effort(request.reasoning_effort),
        **(await texts.prompts(request.chat_template_kwargs or {})),
    }
    plan = tool_plan(request.tools, request.tool_choice, parallel=request.parallel_tool_calls)
    prompt = await model.prompter.chat(
        messages,
        tools=None
        if plan is None or plan.mode == "none"
        else await texts.prompts(plan.tools, _DESCRIBING),
        variables=variables,
        answer=request.add_generation_prompt and not request.continue_final_message,
    )
    limit = answer_limit(model, prompt, request.limit(), "messages")
    sampling = request.sampling(limit, logprobs=request.alternatives())
    parsing = await parsing_of(context, model, prompt, plan)
    wanted = replace(request_of(request, prompt, model, sampling), images=images)
    first = taken(context, model, wanted if parsing is None else shaped(wanted, parsing, model))
    requests = [
        replace(first, sampling=numbered(first.sampling, number)) for number in range(request.n)
    ]
    logprobs = await _encoder(request, model)
    return Job(
        model,
        requests,
        [prompt] * request.n,
        limit,
        request.wants_usage,
        logprobs,
        None if parsing is None else parsing.make,
    )


def _effort(value: str | None) -> dict[str, Any]:
    """Return what tells a template how much to reason; most know only on and off."""
    if value is None:
        return {}
    off = {"enable_thinking": False, "thinking": False} if value == "none" else {}
    return {"reasoning_effort": value, **off}


async def _encoder(request: ChatRequest, model: Model) -> Logprobs | None:
    most = request.alternatives()
    if most is None:
        return None
    token_bytes, ids = await bytes_of(model), request.return_tokens_as_token_ids
    return lambda positions: chat_logprobs(positions, most, token_bytes, ids=ids)


def choice_of(choice: Choice, job: Job) -> dict[str, Any]:
    """Return one answer in OpenAI's form."""
    reason, logprobs = choice.finish_reason(), job.logprobs
    if job.parser is None:
        message = plain_message(choice.text)
    else:
        parsed = whole_message(job.parser(), choice.text, reason)
        message, reason = message_of(parsed), parsed.finish_reason
    made: dict[str, Any] = {"index": choice.index, "message": message}
    made["logprobs"] = None if logprobs is None else logprobs(choice.logprobs)
    made["finish_reason"] = reason
    return made
