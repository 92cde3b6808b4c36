"""A model that does what clients' own test suites expect of one: it calls the first tool that it is
offered, keeps the form that it is asked for, and says what it was told to say.

Its chat template writes the whole request as JSON, so that the script can read it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from support.fake_triton import fake_triton, said
from support.gateways import Served, serving, write_tokenizer
from support.scripted_http import END, STREAM, Step

TEMPLATE = "{{ {'messages': messages, 'tools': tools or []} | tojson }}"
WORDS = ("Hello", " there", ", it", " is", " a", " sunny", " day", ".")
NAMES = ("scripted", "gpt-5-scripted", "claude-sonnet-4-scripted")
"""Some suites leave out what they think a model of that name cannot do."""

VALUES = {"integer": 3, "number": 3.0, "boolean": True, "null": None, "string": "sunny"}


def instance(schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> Any:
    """A value of a JSON schema; only what it requires."""
    root = schema if root is None else root
    if "$ref" in schema:
        found: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return instance(found, root)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if "enum" in schema:
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return instance(schema[key][0], root)
    kind = schema.get("type", "object")
    if kind == "object":
        own = schema.get("properties", {})
        return {name: instance(own[name], root) for name in schema.get("required", own)}
    if kind == "array":
        return [instance(schema.get("items", {}), root)] * max(1, schema.get("minItems", 0))
    return VALUES[kind if isinstance(kind, str) else kind[0]]


def called(tool: Mapping[str, Any]) -> str:
    """A call of a tool, as models of the family ``hermes`` write it."""
    function = tool["function"]
    call = {"name": function["name"], "arguments": instance(function.get("parameters") or {})}
    return f"<tool_call>\n{json.dumps(call)}\n</tool_call>"


def answer(body: Mapping[str, Any]) -> Sequence[str]:
    """The pieces of the answer to one request."""
    sampling = json.loads(body["sampling_parameters"])
    guide = json.loads(sampling.get("structured_outputs") or "{}")
    if "json" in guide:
        return [json.dumps(instance(guide["json"]))]
    if "json_object" in guide:
        return ['{"answer": ', '"sunny"}']
    asked = json.loads(body["text_input"])
    if asked["tools"] and asked["messages"][-1]["role"] != "tool":
        return ["", called(asked["tools"][0])]
    return WORDS


def script(body: dict[str, Any]) -> Sequence[Step]:
    """The events of one request, within its limits."""
    sampling = json.loads(body["sampling_parameters"])
    pieces = list(answer(body))
    reason = "stop"
    for stop in sampling.get("stop", ()):
        text = "".join(pieces)
        pieces = [text.partition(stop)[0]] if stop in text else pieces
    if len(pieces) > sampling["max_tokens"]:
        pieces, reason = pieces[: sampling["max_tokens"]], "length"
    logprobs = {}
    if body.get("return_logprobs"):
        position = {"72": {"logprob": -0.25, "rank": 1, "decoded_token": "H"}}
        logprobs = {"logprobs": json.dumps([position])}
    events = [said(piece, **logprobs) for piece in pieces[:-1]]
    return [STREAM, *events, said(pieces[-1], reason, **logprobs), END]


@contextlib.asynccontextmanager
async def scripted(folder: Path, **more: Any) -> AsyncIterator[Served]:
    """A gateway in front of the model, under each of :data:`NAMES`, and of ``more`` models."""
    tokenizer = write_tokenizer(folder / "tokenizer", TEMPLATE)
    async with fake_triton(**dict.fromkeys(NAMES, script)) as triton:
        own = {"tokenizer": str(tokenizer), "parser": "hermes", "context_length": 100_000}
        models = {name: {**own, "url": triton.url} for name in NAMES}
        async with serving(triton.url, models={**models, **more}) as served:
            yield served
