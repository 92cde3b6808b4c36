"""Verifying the gateway of a deployment: it lists every model, streams text, gives vectors."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping

from trtbuild.signature import ServedTask
from trtbuild.wire.blocking import run
from trtbuild.wire.failures import WireError
from trtbuild.wire.triton_http import TritonHttp
from trtbuild_deploy.facts import Facts, ModelFacts
from trtbuild_deploy.jobs.steps import (
    API_KEY,
    BUFFERED,
    Step,
    is_streamed,
    refused,
    root_of,
    shown,
    unanswered,
)

_SECONDS = 60.0


def of_gateway(facts: Facts, address: str) -> Iterator[Step]:
    """Whether the gateway lists every model, streams text, and answers with vectors."""
    key = os.environ.get(API_KEY, "")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    yield run(_listed(facts, root_of(address), headers))
    for model in facts.models:
        if is_streamed(model):
            yield run(_through(model, root_of(address), headers))
        elif model.task == ServedTask.EMBED:
            yield run(_embedded(model, root_of(address), headers))


async def _listed(facts: Facts, url: str, headers: Mapping[str, str]) -> Step:
    name = "the gateway lists the models"
    text = await _fetched(name, url, "/v1/models", headers)
    if isinstance(text, Step):
        return text
    try:
        listed = {str(one["id"]) for one in json.loads(text)["data"]}
    except (ValueError, LookupError, TypeError):
        fix = "check --gateway: what answers there is not a gateway"
        return Step(name, False, f"{url}/v1/models: no list of models: {shown(text)}", fix)
    lacking = [model.name for model in facts.models if model.name not in listed]
    said = f"{', '.join(lacking)} missing" if lacking else f"{len(facts.models)} of them"
    return Step(name, not lacking, said, "see its /health/ready" if lacking else "")


async def _through(model: ModelFacts, url: str, headers: Mapping[str, str]) -> Step:
    """One streamed completion, counted in pieces."""
    name = f"{model.name} streams through the gateway"
    wanted = {"model": model.name, "prompt": "Hello", "max_tokens": 8, "stream": True}
    pieces = 0
    try:
        async with TritonHttp(url, headers=headers, seconds=_SECONDS) as client:
            body = json.dumps(wanted).encode()
            kind = {"Content-Type": "application/json"}
            async for event in client.events("POST", "/v1/completions", body, kind):
                pieces += b'"text"' in event
    except WireError as error:
        return unanswered(name, f"{url}/v1/completions", error)
    return Step(name, pieces > 1, f"{pieces} pieces", "" if pieces > 1 else BUFFERED)


async def _embedded(model: ModelFacts, url: str, headers: Mapping[str, str]) -> Step:
    name = f"{model.name} answers through the gateway"
    body = json.dumps({"model": model.name, "input": "Hello"}).encode()
    text = await _fetched(name, url, "/v1/embeddings", headers, body)
    if isinstance(text, Step):
        return text
    try:
        size = len(json.loads(text)["data"][0]["embedding"])
    except (ValueError, LookupError, TypeError):
        size = 0
    said = f"a vector of {size} numbers" if size else f"no vector: {shown(text)}"
    return Step(name, size > 0, said, "" if size else "see the gateway's log")


async def _fetched(
    name: str, url: str, path: str, headers: Mapping[str, str], body: bytes = b""
) -> str | Step:
    """The text of an answer, or the step ``name`` failed; a body is sent by POST."""
    try:
        async with TritonHttp(url, headers=headers, seconds=_SECONDS) as client:
            answer = await client.fetch("POST" if body else "GET", path, body)
    except WireError as error:
        return unanswered(name, url + path, error)
    text = answer.body.decode("utf-8", "replace")
    return text if answer.good else refused(name, url + path, answer.status, text)
