"""``/v1/completions``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trtbuild.signature.requests import GenerateRequest
from trtbuild_gateway.answers import Choice
from trtbuild_gateway.encoding.chunks import CompletionStream, Identity, body
from trtbuild_gateway.encoding.logprobs import TokenBytes, completion_logprobs
from trtbuild_gateway.failures import ApiError, invalid
from trtbuild_gateway.http.endpoint import Context
from trtbuild_gateway.prompts.pieces import first_token, text_of
from trtbuild_gateway.prompts.prompter import Prompt
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
from trtbuild_gateway.schema.completions import CompletionRequest
from trtbuild_gateway.seams import Texts
from trtbuild_gateway.upstream.model import Model

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_DEFAULT_TOKENS = 16  # OpenAI's, for this endpoint


async def completions(context: Context) -> None:
    """Complete prompts."""
    request, model = await text_request(context, "completions", CompletionRequest)
    _check_echo(request)
    checked_count(context, request.n * len(request.prompts()))
    job = await _job(context, request, model)
    prompts = {id(prompt): prompt.tokens or 0 for prompt in job.prompts}
    await context.admit(sum(prompts.values()), job.limit * len(job.requests))
    identity = Identity(f"cmpl-{context.call.id}", int(time.time()), request.model)
    if request.stream:
        encoder = CompletionStream(identity, usage=request.wants_usage)
        await streamed(context, job, encoder)
        return
    choices = await whole(context, job)
    token_bytes = await bytes_of(model)
    tokenizer = await model.prompter.tokenizer() if request.echo else None
    made = [
        _choice(choice, request, prompt, token_bytes, tokenizer)
        for choice, prompt in zip(choices, job.prompts, strict=True)
    ]
    counts = job.counts(choices)
    if request.max_tokens == 0:
        counts |= {"completion_tokens": 0, "total_tokens": counts["prompt_tokens"]}
    await context.exchange.respond(body("text_completion", identity, made, counts))


def _check_echo(request: CompletionRequest) -> None:
    if request.echo and request.stream:
        raise invalid("'echo' cannot be streamed; leave out 'stream'", "echo")
    if request.max_tokens == 0 and not request.echo:
        raise invalid("'max_tokens': 0 needs 'echo': true", "max_tokens")


async def _job(context: Context, request: CompletionRequest, model: Model) -> Job:
    prompts = [await _prompt(model, item, context.call.texts) for item in request.prompts()]
    # With max_tokens 0 only the prompt is of interest; engines generate at least one token.
    wanted = _DEFAULT_TOKENS if request.max_tokens is None else max(1, request.max_tokens)
    limits = [answer_limit(model, prompt, wanted, "prompt") for prompt in prompts]
    requests: list[GenerateRequest] = []
    for prompt in prompts:
        sampling = request.sampling(wanted, logprobs=request.logprobs, echo=request.echo)
        first = taken(context, model, request_of(request, prompt, model, sampling))
        requests += [
            replace(first, sampling=numbered(first.sampling, number)) for number in range(request.n)
        ]
    every = [prompt for prompt in prompts for _ in range(request.n)]
    logprobs = None
    if request.logprobs is not None:
        most, token_bytes = request.logprobs, await bytes_of(model)

        def logprobs(positions: Any) -> dict[str, Any]:
            return completion_logprobs(
                positions, most, token_bytes, ids=request.return_tokens_as_token_ids
            )

    return Job(model, requests, every, max(limits), request.wants_usage, logprobs)


async def _prompt(model: Model, item: str | list[int], texts: Texts) -> Prompt:
    if isinstance(item, str):
        return await model.prompter.plain(await texts.prompts(item))
    tokenizer = await model.prompter.required_tokenizer()
    text = text_of(tokenizer, item)
    if text is None:
        raise invalid(
            f"the token ids in 'prompt' are not what a text of {model.name!r} becomes, and its "
            "server takes text; send the text",
            "prompt",
            "unsupported_tokens",
        )
    checked = await texts.prompts(text)
    return Prompt(text, len(item)) if checked == text else await model.prompter.plain(checked)


def _choice(
    choice: Choice,
    request: CompletionRequest,
    prompt: Prompt,
    token_bytes: TokenBytes,
    tokenizer: Tokenizer | None,
) -> dict[str, Any]:
    only_prompt = request.max_tokens == 0
    text = "" if only_prompt else choice.text
    logprobs = None
    if request.logprobs is not None:
        positions = [] if only_prompt else choice.logprobs
        if request.echo:
            positions = [*_of_prompt(choice, prompt), *positions]
        logprobs = completion_logprobs(
            positions,
            request.logprobs,
            token_bytes,
            first=None if tokenizer is None else first_token(tokenizer, prompt.text),
            text=prompt.text,
            ids=request.return_tokens_as_token_ids,
        )
    return {
        "index": choice.index,
        "text": prompt.text + text if request.echo else text,
        "logprobs": logprobs,
        "finish_reason": "length" if only_prompt else choice.finish_reason(),
    }


def _of_prompt(choice: Choice, prompt: Prompt) -> Sequence[Any]:
    """Return the log probabilities of all the prompt's tokens; ApiError without them.

    Those of the answer alone would look right and be wrong: whoever compares texts by their
    probability would compare nothing.
    """
    found = choice.prompt_logprobs
    if not found:
        raise ApiError(
            502, "the server sent no log probabilities of the prompt", code="upstream_error"
        )
    if prompt.tokens is not None and len(found) != prompt.tokens:
        raise ApiError(
            502,
            f"the server sent log probabilities of {len(found)} tokens, and the prompt has "
            f"{prompt.tokens}",
            code="upstream_error",
        )
    return found
