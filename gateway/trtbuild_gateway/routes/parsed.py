"""Answers split into reasoning, content and tool calls, in the format of the model's family."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from trtbuild.signature import dialect_of
from trtbuild.signature.requests import Chunk, GenerateRequest
from trtbuild.signature.sampling import Guide
from trtbuild_gateway.answers import Choice
from trtbuild_gateway.encoding.chunks import Stream
from trtbuild_gateway.failures import ApiError, invalid
from trtbuild_gateway.http.direct import ReadSink, Sink
from trtbuild_gateway.http.endpoint import Context
from trtbuild_gateway.http.exchange import Exchange
from trtbuild_gateway.parsing import (
    Boxes,
    BoxParser,
    CallArguments,
    CallStart,
    Content,
    Event,
    Family,
    FamilyParser,
    GuidedParser,
    Message,
    Parser,
    Reasoning,
    choose,
    families,
    named,
)
from trtbuild_gateway.parsing.choose import special_marks
from trtbuild_gateway.parsing.guided import one_call, some_calls
from trtbuild_gateway.prompts.prompter import Prompt, Prompter
from trtbuild_gateway.schema.tools import ToolPlan
from trtbuild_gateway.upstream.model import Model

Logprobs = Callable[[Sequence[Any]], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Format:
    """How a model writes reasoning and calls.

    Attributes:
        family: The family; None if it is unknown or turned off.
        special: Whether its markers are special tokens, which engines leave out by default.
    """

    family: Family | None
    special: bool = False


@dataclass(frozen=True, slots=True)
class Parsing:
    """How the answers of one request are read.

    Attributes:
        make: Returns a parser for one answer.
        guide: The form that the engine must give them; None to leave it to the model.
        special: Whether special tokens must be in the text.
    """

    make: Callable[[], Parser]
    guide: Guide | None = None
    special: bool = False


_NOWHERE = Path("/nonexistent")
_formats: WeakKeyDictionary[Prompter, Format] = WeakKeyDictionary()


async def format_of(model: Model) -> Format:
    """Return how a model writes; its files are read once."""
    found = _formats.get(model.prompter)
    if found is None:
        family = await asyncio.to_thread(_family, model.prompter)
        tokenizer = None if family is None else await model.prompter.tokenizer()
        special = True
        if tokenizer is not None and family is not None:
            added = tokenizer.get_added_tokens_decoder().values()
            special = special_marks(family, [token.content for token in added if token.special])
        found = _formats[model.prompter] = Format(family, special and family is not None)
    return found


def _family(prompter: Prompter) -> Family | None:
    return named(prompter.parser) if prompter.parser else _by_files(prompter)


def _by_files(prompter: Prompter) -> Family | None:
    try:
        template = prompter.template(tools=True).text
    except ApiError:
        template = ""
    own = prompter.settings().get("response_template")
    try:
        config = json.loads(((prompter.folder or _NOWHERE) / "config.json").read_bytes())
        kinds = [config["model_type"]]
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        kinds = []
    return choose(
        template,
        architectures=[kind for kind in kinds if isinstance(kind, str)],
        response_template=own if isinstance(own, dict) else None,
    )


async def parsing_of(
    context: Context, model: Model, prompt: Prompt, plan: ToolPlan | None
) -> Parsing | None:
    """Return how to read the answers; None if they are plain text.

    Raises:
        ApiError: The client offers tools, and nobody knows how the model calls one.
    """
    if plan is not None and plan.mode == "required":
        guided = _guided(context, model, plan)
        if guided is not None:
            return guided
    form = await format_of(model)
    family, calls = form.family, plan is not None and plan.mode != "none"
    if calls and (family is None or not family.calls):
        listed = ", ".join(name for name, one in families().items() if one.calls)
        raise invalid(
            f"the gateway does not know how the model {model.name!r} writes tool calls: set "
            f"`parser` of the model in gateway.yaml to one of {listed}; or send tool_choice "
            "'required' or a tool's name",
            "tools",
            "unsupported_parameter",
        )
    if family is None or not (calls or family.reasons):
        return _boxes(model)
    tools, parallel = (plan.tools, plan.parallel) if plan else ((), True)

    def make() -> Parser:
        return FamilyParser(family, prompt=prompt.text, tools=tools, calls=calls, parallel=parallel)

    return Parsing(make, special=form.special)


def _boxes(model: Model) -> Parsing | None:
    """Read the boxes of a model that marks them; None if it does not."""
    vision = model.served.vision
    if vision is None or not vision.boxes:
        return None
    special = vision.sampling.get("skip_special_tokens") is False
    return Parsing(lambda: BoxParser(vision), special=special)


def _guided(context: Context, model: Model, plan: ToolPlan) -> Parsing | None:
    """Make the engine write a call; None if it cannot and that may be ignored."""
    parameters = plan.parameters()
    if plan.only:
        schema = one_call(parameters[plan.only])
    else:
        schema = some_calls(parameters, parallel=plan.parallel)
    guide = Guide("json", schema)
    dialect = dialect_of(model.served)
    if dialect and "guide" in dialect.ignored(model.served, GenerateRequest("", guide=guide)):
        if not context.drops:
            raise invalid(
                f"the model {model.name!r} cannot be made to call a tool, since its server takes "
                "no form of the answer: send tool_choice 'auto'",
                "tool_choice",
                "unsupported_parameter",
            )
        context.note_ignored(("tool_choice",))
        return None
    only, parallel = plan.only or None, plan.parallel
    return Parsing(lambda: GuidedParser(only, parallel=parallel), guide)


def shaped(request: GenerateRequest, parsing: Parsing, model: Model) -> GenerateRequest:
    """Return the request that makes the engine write what can be parsed."""
    if parsing.guide is not None:
        return replace(request, guide=parsing.guide)
    sampling = request.sampling
    if not parsing.special or sampling.skip_special_tokens is not None:
        return request
    made = replace(request, sampling=replace(sampling, skip_special_tokens=False))
    dialect = dialect_of(model.served)
    ignored = dialect.ignored(model.served, made) if dialect else ()
    return request if "skip_special_tokens" in ignored else made


def whole_message(parser: Parser, text: str, reason: str) -> Message:
    """Parse a whole answer, by the same code as a stream."""
    parser.feed(text)
    return parser.finish(reason).message


def plain_message(content: str | None) -> dict[str, Any]:
    """Return a message without reasoning and calls."""
    return {"role": "assistant", "content": content, "refusal": None, "annotations": []}


def message_of(message: Message) -> dict[str, Any]:
    """Return an answer as OpenAI writes it; clients know the reasoning by one of two names."""
    made = plain_message(message.content)
    if message.reasoning is not None:
        made |= {"reasoning": message.reasoning, "reasoning_content": message.reasoning}
    if message.tool_calls:
        made["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.boxes is not None:
        made["boxes"] = [asdict(box) for box in message.boxes]
    return made


def delta_of(event: Event) -> dict[str, Any] | None:
    """Return an event as the change of a stream; None if it changes nothing."""
    if isinstance(event, Content):
        return {"content": event.text}
    if isinstance(event, Reasoning):
        return {"reasoning": event.text, "reasoning_content": event.text}
    if isinstance(event, CallStart):
        function = {"name": event.name, "arguments": ""}
        call = {"index": event.index, "id": event.id, "type": "function", "function": function}
        return {"tool_calls": [call]}
    if isinstance(event, CallArguments):
        return {"tool_calls": [{"index": event.index, "function": {"arguments": event.text}}]}
    if isinstance(event, Boxes):
        return {"boxes": [asdict(box) for box in event.boxes]}
    return None


class ParsedReader:
    """Encodes one answer of a stream.

    Log probabilities go with the first change that their tokens make, which may come later.
    """

    def __init__(self, encoder: Stream, parser: Parser, logprobs: Logprobs | None) -> None:
        self._encoder = encoder
        self._parser = parser
        self._logprobs = logprobs
        self._positions: list[Any] = []

    def take(self, choice: Choice, chunks: Sequence[Chunk]) -> bytes:
        """Return the events of new chunks."""
        pieces: list[bytes] = []
        for chunk in chunks:
            choice.take(chunk)
            self._positions += chunk.logprobs
            if chunk.text:
                pieces += self._encoded(choice.index, self._parser.feed(chunk.text))
        return b"".join(pieces)

    def frame(self, index: int) -> None:
        """Return None: a text may become several events."""

    def sink(self, exchange: Exchange, choice: Choice) -> Sink:
        """Return the fast path of its texts."""
        return ReadSink(exchange, choice, self.take)

    def end(self, choice: Choice) -> bytes:
        """Return the last events."""
        ended = self._parser.finish(choice.finish_reason())
        pieces = self._encoded(choice.index, ended.events)
        if self._logprobs is not None and self._positions:
            pieces.append(self._encoder.delta(choice.index, {"content": ""}, self._taken()))
        pieces.append(self._encoder.finish(choice.index, ended.message.finish_reason))
        return b"".join(pieces)

    def _taken(self) -> Mapping[str, Any] | None:
        if self._logprobs is None or not self._positions:
            return None
        positions, self._positions = self._positions, []
        return self._logprobs(positions)

    def _encoded(self, index: int, events: Sequence[Event]) -> list[bytes]:
        pieces = []
        for event in events:
            if isinstance(event, Content) and self._logprobs is None:
                pieces.append(self._encoder.text(index, event.text))
            elif (delta := delta_of(event)) is not None:
                pieces.append(self._encoder.delta(index, delta, self._taken()))
        return pieces
