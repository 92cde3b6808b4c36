"""What chat and completions share: limits, unsupported parameters, streams and whole answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from trtbuild.signature import dialect_of
from trtbuild.signature.requests import Chunk, GenerateRequest
from trtbuild.signature.sampling import Sampling
from trtbuild_gateway.answers import Choice, generate_all
from trtbuild_gateway.encoding.chunks import Stream, usage
from trtbuild_gateway.encoding.logprobs import TokenBytes
from trtbuild_gateway.failures import invalid
from trtbuild_gateway.http.endpoint import Context
from trtbuild_gateway.http.exchange import Emit
from trtbuild_gateway.parsing import Parser
from trtbuild_gateway.prompts.prompter import Prompt
from trtbuild_gateway.routes.parsed import ParsedReader
from trtbuild_gateway.routes.readers import CheckedReader, Logprobs, PlainReader
from trtbuild_gateway.schema.parameters import check, typed
from trtbuild_gateway.schema.sampling import SamplingFields
from trtbuild_gateway.upstream.model import Model

_Fields = TypeVar("_Fields", bound=SamplingFields)
_WITHOUT_LIMIT = 1024  # tokens of an answer where neither client nor context says how many
# How clients call what a request schema reports as ignored.
_NAMES = {"guide": "response_format", "adapter": "model"}


@dataclass(frozen=True, slots=True)
class Job:
    """What to generate for one request.

    Attributes:
        model: The model.
        requests: One for each answer.
        prompts: The prompt of each.
        limit: The most tokens of each.
        wants_usage: Whether a stream ends with the token counts.
        logprobs: Encodes the log probabilities of chunks; None without.
        parser: Returns a parser for one answer; None for plain text.
    """

    model: Model
    requests: Sequence[GenerateRequest]
    prompts: Sequence[Prompt]
    limit: int
    wants_usage: bool = False
    logprobs: Logprobs | None = None
    parser: Callable[[], Parser] | None = None

    def choices(self) -> list[Choice]:
        """Return the answers before their first chunk."""
        reports = self.model.served.has_output("finish_reason")
        return [
            Choice(index, request.sampling.max_tokens, reports_reason=reports)
            for index, request in enumerate(self.requests)
        ]

    def counts(self, choices: Sequence[Choice]) -> dict[str, int]:
        """Return ``usage``: each prompt counts once, however many answers it has."""
        per_prompt = {id(prompt): at for at, prompt in enumerate(self.prompts)}
        prompt = sum(
            self.prompts[at].tokens or choices[at].prompt_tokens or 0 for at in per_prompt.values()
        )
        return usage(prompt, sum(choice.tokens for choice in choices))


async def text_request(
    context: Context, endpoint: str, kind: type[_Fields]
) -> tuple[_Fields, Model]:
    """Return the request, its parameters checked, and its model, see :func:`text_model`."""
    given = await context.body()
    ignored = check(endpoint, given, drop=context.drops)
    request = typed(given, kind)
    context.note_ignored((*ignored, *request.ignored(drop=context.drops)))
    return request, await text_model(context, request.model)


async def text_model(context: Context, name: str) -> Model:
    """Return a model that the caller may use; ApiError for one that generates no text."""
    model = await context.model(name)
    if not model.served.task.makes_text:
        raise invalid(
            f"the model {model.name!r} generates no text: its task is {model.served.task}",
            "model",
            "unsupported_task",
        )
    return model


def answer_limit(model: Model, prompt: Prompt, wanted: int | None, param: str) -> int:
    """Return the most tokens of an answer: the client's limit, or what the context has left.

    Raises:
        ApiError: Prompt and answer do not fit the context.
    """
    context = model.served.context_length
    if not context or prompt.tokens is None:
        return _WITHOUT_LIMIT if wanted is None else wanted
    room = context - prompt.tokens
    if room < 1 or (wanted is not None and wanted > room):
        asked = "" if wanted is None else f" and {wanted} for the answer"
        raise invalid(
            f"the model's context is {context} tokens, and the request needs more: "
            f"{prompt.tokens} in {param}{asked}; shorten {param} or the answer",
            param,
            "context_length_exceeded",
        )
    return room if wanted is None else wanted


def checked_count(context: Context, answers: int) -> None:
    """Raise ApiError for too many answers of one request."""
    most = context.gateway.settings.most_choices
    if answers > most:
        raise invalid(f"the request asks for {answers} answers, the most is {most}", "n")


def numbered(sampling: Sampling, number: int) -> Sampling:
    """Return the sampling of one of several answers: a seed must not make them equal."""
    return sampling if sampling.seed is None else replace(sampling, seed=sampling.seed + number)


def taken(context: Context, model: Model, request: GenerateRequest) -> GenerateRequest:
    """Return what the model takes of a request.

    Raises:
        ApiError: It does not take all, and ``on_unsupported`` is ``refuse``.
    """
    dialect = dialect_of(model.served)
    ignored = dialect.ignored(model.served, request) if dialect else ()
    if request.sampling.wants_logprobs and not model.served.has_output("logprobs"):
        ignored = (*ignored, "logprobs")
    names = tuple(_NAMES.get(name, name) for name in ignored if name != "max_tokens")
    if request.sampling.wants_logprobs and context.call.texts.hides:
        raise invalid(
            "'logprobs' would reveal masked text; leave it out",
            "logprobs",
            "unsupported_parameter",
        )
    if not names:
        return request
    if not context.drops:
        listed = ", ".join(repr(name) for name in names)
        raise invalid(
            f"the model {model.name!r} does not take {listed}", names[0], "unsupported_parameter"
        )
    context.note_ignored(names)
    return replace(request, guide=None, adapter="") if "guide" in ignored else request


def request_of(
    fields: SamplingFields, prompt: Prompt, model: Model, sampling: Sampling
) -> GenerateRequest:
    """Return the request for one answer."""
    return GenerateRequest(
        prompt.text,
        sampling,
        stream=fields.stream,
        guide=fields.guide(),
        adapter=model.adapter,
        priority=fields.priority,
    )


async def bytes_of(model: Model) -> TokenBytes:
    """Return the bytes of the model's token ids."""
    from trtbuild_gateway.prompts.pieces import token_bytes

    tokenizer = await model.prompter.tokenizer()
    return (lambda _: None) if tokenizer is None else token_bytes(tokenizer)


async def whole(context: Context, job: Job) -> list[Choice]:
    """Generate all answers and return them.

    Raises:
        LeftError: The client left.
        WireError: A model failed.
    """
    choices = job.choices()

    def take(index: int, chunks: Sequence[Chunk]) -> None:
        for chunk in chunks:
            choices[index].keep(chunk)

    try:
        async with context.exchange.watched():
            headers = context.upstream_headers()
            await generate_all(job.model.backend, job.requests, headers, take)
        for choice in choices:
            choice.finish_reason()
            if (text := context.call.texts.answer()) is not None:
                choice.parts = [text.feed(choice.text), text.end()]
    finally:
        _note_counts(context, job, choices)
    return choices


async def streamed(context: Context, job: Job, encoder: Stream) -> None:
    """Send the answers as they come."""
    heartbeat = context.gateway.settings.heartbeat_seconds
    context.exchange.error_event = lambda error: encoder.error(error) + encoder.done
    produce = partial(_produce, context, job, encoder, direct=context.exchange.client is not None)
    await context.exchange.stream(produce, heartbeat)


async def run(context: Context, job: Job, encoder: Stream) -> None:
    """Generate as if for a stream, for an encoder that keeps what it has encoded.

    Raises:
        LeftError: The client left.
        WireError: A model failed.
    """
    async with context.exchange.watched():
        await _produce(context, job, encoder, lambda _: None)


async def _produce(
    context: Context, job: Job, encoder: Stream, emit: Emit, *, direct: bool = False
) -> None:
    choices = job.choices()
    readers = [_reader(context, job, encoder) for _ in choices]
    pairs = zip(choices, readers, strict=True) if direct else ()
    sinks = [reader.sink(context.exchange, choice) for choice, reader in pairs]
    roles = b"".join(encoder.role(choice.index) for choice in choices)

    def take(index: int, chunks: Sequence[Chunk]) -> Awaitable[None] | None:
        nonlocal roles
        choices[index].arrived(chunks)
        piece = readers[index].take(choices[index], chunks)
        if roles:
            roles, piece = b"", roles + piece
        return emit(piece) if piece else None

    try:
        headers = context.upstream_headers()
        try:
            await generate_all(job.model.backend, job.requests, headers, take, sinks)
        finally:
            for sink in sinks:
                sink.settle()
        ends = [readers[choice.index].end(choice) for choice in choices]
        if job.wants_usage:
            ends.append(encoder.usage(job.counts(choices)))
        last = b"".join((*ends, encoder.done))
    finally:
        _note_counts(context, job, choices)
    if (waiting := emit(last)) is not None:
        await waiting


def _reader(
    context: Context, job: Job, encoder: Stream
) -> PlainReader | ParsedReader | CheckedReader:
    made: PlainReader | ParsedReader
    if job.parser is None:
        made = PlainReader(encoder, job.logprobs)
    else:
        made = ParsedReader(encoder, job.parser(), job.logprobs)
    text = context.call.texts.answer()
    return made if text is None else CheckedReader(text, made)


def _note_counts(context: Context, job: Job, choices: Sequence[Choice]) -> None:
    counts, outcome = job.counts(choices), context.outcome
    outcome.prompt_tokens = counts["prompt_tokens"]
    outcome.completion_tokens = counts["completion_tokens"]
    reasons = (choice.openai_reason for choice in choices)
    outcome.finish_reasons = tuple(reason for reason in reasons if reason)
    begun = [choice for choice in choices if choice.first]
    if begun and job.requests[0].stream:  # another answer arrives as a whole
        outcome.first_token = min(choice.first for choice in begun)
        outcome.later_tokens = sum(choice.tokens - choice.at_first for choice in begun)
        outcome.later_seconds = sum(choice.last - choice.first for choice in begun)
