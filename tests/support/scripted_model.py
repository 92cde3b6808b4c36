"""A model that does what clients' own test suites expect of one: it calls the first tool that it is
offered, keeps the form that it is asked for, and says what it was told to say.

Its chat template writes the whole request as JSON, so that the script can read it.
"""

from __future__ import annotations

import contextlib
import json
import re
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

VALUES = {"integer": 3, "number": 3.0, "boolean": True, "null": None}


def instance(
    schema: Mapping[str, Any], root: Mapping[str, Any] | None = None, *, text: str = "sunny"
) -> Any:
    """A value of a JSON schema, with only what it requires; ``text`` for each text."""
    root = schema if root is None else root
    if "$ref" in schema:
        found: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return instance(found, root, text=text)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if "enum" in schema:
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return instance(schema[key][0], root, text=text)
    kind = schema.get("type", "object")
    if kind == "object":
        own = schema.get("properties", {})
        wanted = schema.get("required", own)
        return {name: instance(own[name], root, text=text) for name in wanted}
    if kind == "array":
        one = instance(schema.get("items", {}), root, text=text)
        return [one] * max(1, schema.get("minItems", 0))
    return {**VALUES, "string": text}[kind if isinstance(kind, str) else kind[0]]


def called(tool: Mapping[str, Any], text: str) -> str:
    """A call of a tool, as models of the family ``hermes`` write it."""
    function = tool["function"]
    arguments = instance(function.get("parameters") or {}, text=text)
    call = json.dumps({"name": function["name"], "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{call}\n</tool_call>"


def answer(body: Mapping[str, Any]) -> Sequence[str]:
    """The pieces of the answer to one request; its values are what the user put between quotes."""
    sampling = json.loads(body["sampling_parameters"])
    guide = json.loads(sampling.get("structured_outputs") or "{}")
    if not body["text_input"].startswith('{"messages":'):
        return WORDS
    asked = json.loads(body["text_input"])
    last = asked["messages"][-1]
    quoted = re.search(r"'([^']+)'", str(last.get("content")))
    text = quoted[1] if quoted else "sunny"
    if "json" in guide:
        return [json.dumps(instance(guide["json"], text=text))]
    if "json_object" in guide:
        return ['{"setup": "Hello",', ' "punchline": "sunny"}']
    if asked["tools"] and last["role"] != "tool":
        return ["", called(asked["tools"][0], text)]
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
async def scripted(
    folder: Path, url: str = "", names: Sequence[str] = NAMES, **settings: Any
) -> AsyncIterator[Served]:
    """A gateway in front of the model, under each of ``names``, and of the server ``url``;
    ``settings`` are more of the gateway's, and of other models."""
    tokenizer = write_tokenizer(folder / "tokenizer", TEMPLATE)
    async with fake_triton(**dict.fromkeys(names, script)) as triton:
        own = {"tokenizer": str(tokenizer), "parser": "hermes", "context_length": 100_000}
        models = {name: {**own, "url": triton.url} for name in names}
        models |= settings.pop("models", {})
        async with serving(url or triton.url, models=models, **settings) as served:
            yield served
