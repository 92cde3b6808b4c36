"""Verifying that the trace of a request arrives in the store of traces."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trtbuild.signature import ServedTask
from trtbuild.wire.blocking import fetch, run
from trtbuild.wire.failures import WireError
from trtbuild.wire.triton_http import TritonHttp
from trtbuild_deploy.facts import Facts, read_facts
from trtbuild_deploy.jobs.addresses import Addresses
from trtbuild_deploy.jobs.steps import API_KEY, Step, shown

_NAME = "a trace arrives"
_SECONDS = 60.0  # exporters and stores batch for some seconds each
_POLL = 0.5
_REFUSED = f"look at the log of what refused it; the gateway's key is read from {API_KEY}"
_FIX = (
    "set 'tracing.url' in deploy.yaml to the collector, and look at its log; Triton needs an OTLP "
    "receiver over HTTP that takes JSON"
)


def trace_arrives(repository: Path, addresses: Addresses, seconds: float = _SECONDS) -> Step:
    """Ask one model with a trace of our own, and wait until the store has its spans.

    Args:
        repository: What is deployed.
        addresses: Where it answers, and the store of traces, whose API answers ``/api/traces/ID``;
            the gateway is asked where there is one.
        seconds: How long to wait for the spans.

    Raises:
        TrtbuildError: As :func:`trtbuild_deploy.facts.read_facts`.
    """
    trace = secrets.token_hex(16)
    try:
        refused = run(_asked(read_facts(repository), addresses, trace))
    except WireError as error:
        refused = shown(str(error))
    if refused:
        return Step(_NAME, False, f"the request of the trace failed: {refused}", _REFUSED)
    url = f"{addresses.traces.rstrip('/')}/api/traces/{trace}"
    until = time.monotonic() + seconds
    while True:
        found, said = _spans(url)
        if found or time.monotonic() > until:
            break
        time.sleep(_POLL)
    if not found:
        return Step(_NAME, False, f"{said} after {seconds:.0f} s: {url}", _FIX)
    services = sorted(set(found))
    return Step(_NAME, True, f"{len(found)} spans of {', '.join(services)}")


async def _asked(facts: Facts, addresses: Addresses, trace: str) -> str:
    """Send one request whose parent span is ours, and which is sampled; return what went wrong."""
    headers = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    url, path, body = request_of(facts, addresses)
    if not body:
        return "no model takes a request as JSON"
    if url == addresses.gateway and (key := os.environ.get(API_KEY, "")):
        headers["Authorization"] = f"Bearer {key}"
    async with TritonHttp(url, headers=headers, seconds=_SECONDS) as client:
        answer = await client.fetch("POST", path, json.dumps(body).encode())
    if answer.good:
        return ""
    return f"HTTP {answer.status}, {shown(answer.body.decode('utf-8', 'replace'))}"


def request_of(facts: Facts, addresses: Addresses) -> tuple[str, str, dict[str, Any]]:
    """Address, path and body of a request that leaves a span wherever it passes."""
    for model in facts.models if addresses.gateway else ():
        task, body = ServedTask(model.task), {"model": model.name}
        if task.makes_text:
            more = {"prompt": "Hello", "max_tokens": 4}
            return addresses.gateway, "/v1/completions", {**body, **more}
        if task is ServedTask.EMBED:
            return addresses.gateway, "/v1/embeddings", {**body, "input": "Hello"}
    # A model that is only asked whether it is ready leaves no span.
    probes = [model.probe for model in facts.models]
    probe = next((one for one in probes if one.body), probes[0])
    return addresses.server, probe.path, dict(probe.body)


def _spans(url: str) -> tuple[list[str], str]:
    """The service of each span that the store has, and what was seen where it has none."""
    try:
        response = fetch(url, seconds=10)
        if not response.good:
            return [], f"the store answers {response.status}"
        return list(_services(json.loads(response.body))), "no span"
    except (WireError, ValueError, LookupError, TypeError, AttributeError) as error:
        return [], f"the store's answer cannot be read ({error})"


def _services(answer: Any) -> Iterator[str]:
    """Jaeger groups spans by trace with its processes beside, Tempo as OTLP does."""
    for trace in answer.get("data") or ():
        processes = trace["processes"]
        for span in trace["spans"]:
            yield str(processes[span["processID"]]["serviceName"])
    for resource in answer.get("batches") or answer.get("resourceSpans") or ():
        attributes = resource["resource"].get("attributes", ())
        names = [one["value"]["stringValue"] for one in attributes if one["key"] == "service.name"]
        for scope in resource["scopeSpans"]:
            yield from [str((names or ["unknown"])[0])] * len(scope["spans"])
