"""Verifying what is really deployed: answers, streams, metrics, and a restart that cuts nothing."""

from __future__ import annotations

import json
import os
import re
import shlex
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from trtbuild import process
from trtbuild.client import LLMClient, Sampling
from trtbuild.errors import ServerError, TrtbuildError, UsageError
from trtbuild.progress import SILENT, Progress
from trtbuild.repository import served_model
from trtbuild.signature import ServedTask
from trtbuild.wire.blocking import fetch, run
from trtbuild.wire.failures import WireError
from trtbuild.wire.metrics import parse_metrics
from trtbuild.wire.triton_http import TritonHttp
from trtbuild_deploy.facts import Facts, ModelFacts, read_facts
from trtbuild_deploy.jobs.addresses import Addresses

API_KEY = "TRTBUILD_API_KEY"
"""The variable with a key of the gateway, where it asks for one."""

_LOG = f"see its log; {API_KEY} has the key"
_BUFFERED = "a proxy in between buffers: turn response buffering off for this route"
_STREAMS = 4
_SECONDS = 60.0
_LONG = Sampling(max_tokens=64, temperature=0, ignore_eos=True)
_SHORT = Sampling(max_tokens=8, temperature=0, ignore_eos=True)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was tried; ``said`` is what was seen, ``fix`` what to do when it failed."""

    name: str
    ok: bool
    said: str
    fix: str = ""


def verify(
    repository: Path,
    addresses: Addresses,
    *,
    during: str = "",
    progress: Progress = SILENT,
) -> tuple[Step, ...]:
    """Try everything that a deployment of ``repository`` must do.

    Args:
        repository: What should be deployed.
        addresses: Where it answers.
        during: A command that restarts it and ends when that is done; streams run meanwhile, and
            none may be cut.
        progress: Called before a slow step.

    Raises:
        UsageError: What is no address, a command that cannot be split into words or that does not
            wait for the restart, or there is nothing to stream.
        TrtbuildError: As :func:`trtbuild_deploy.facts.read_facts`.
    """
    addresses.require_sound()
    facts = read_facts(repository)
    words = _words(during, facts)
    steps: list[Step] = []
    with LLMClient(addresses.server, "http", lambda name: served_model(repository, name)) as client:
        for model in facts.models:
            progress.step(f"asking {model.name}")
            steps += _of_model(client, model)
        if addresses.gateway:
            progress.step("asking the gateway")
            steps += _of_gateway(facts, addresses.gateway)
        progress.step("reading metrics")  # last: a series begins with its first request
        steps += _of_metrics(facts, addresses, _pages(addresses))
        if words:
            progress.step(f"streaming during {during}")
            steps.append(_restarted(client, facts, words))
    return tuple(steps)


def _of_model(client: LLMClient, model: ModelFacts) -> Iterator[Step]:
    fix = "see the server's log: `trtbuild explain LOG` finds the reason"
    try:
        client.try_out(model.name, timeout=_SECONDS)
    except ServerError as error:
        yield Step(f"{model.name} answers", False, f"{error.what} {error.where}".strip(), fix)
        return
    yield Step(f"{model.name} answers", True, "one request")
    if not _is_streamed(model):
        return
    try:
        chunks = client.answer(model.name, "Hello", _SHORT, timeout=_SECONDS).chunks
    except ServerError as error:
        yield Step(f"{model.name} streams", False, error.what, fix)
        return
    fix = "" if chunks > 1 else _BUFFERED
    yield Step(f"{model.name} streams", chunks > 1, f"{chunks} pieces", fix)


def _pages(addresses: Addresses) -> dict[str, str]:
    """Each page's text; empty for one that cannot be read."""
    wanted = [*addresses.metrics]
    wanted += [f"{_root(addresses.gateway)}/metrics"] if addresses.gateway else []
    return {url: _text(url) for url in wanted}


def _text(url: str) -> str:
    try:
        response = fetch(url, seconds=10)
    except (WireError, ValueError):
        return ""
    return response.body.decode("utf-8", "replace") if response.good else ""


def _root(address: str) -> str:
    return (address if "://" in address else f"http://{address}").rstrip("/")


def _of_metrics(facts: Facts, addresses: Addresses, pages: dict[str, str]) -> Iterator[Step]:
    """Every metric that a signal of this deployment is computed from."""
    for url, text in pages.items():
        if not text:
            fix = "make the port reachable from here, or name another address with --metrics"
            yield Step(f"{url} is readable", False, "no page of metrics", fix)
    if not any(pages.values()):
        return
    exported = {name for text in pages.values() for name in _names(text)}
    for signal in facts.metrics(gateway=bool(addresses.gateway)).signals.values():
        lacking = [name for name in signal.families if not _is_exported(name, exported)]
        fix = "turn it on (REPORT_CUSTOM_METRICS, --metrics-config), or scale on another signal"
        if signal.exists:
            said = f"{', '.join(lacking)} missing" if lacking else ", ".join(signal.families)
            yield Step(f"metrics of {signal.name}", not lacking, said, fix if lacking else "")


def _names(text: str) -> Iterator[str]:
    try:
        yield from (metric.name for metric in parse_metrics(text))
    except ValueError:
        return


def _is_exported(family: str, exported: set[str]) -> bool:
    return bool({family, family.removesuffix("_total"), f"{family}_count"} & exported)


def _of_gateway(facts: Facts, address: str) -> Iterator[Step]:
    """Whether the gateway lists every model, streams text, and answers with vectors."""
    key = os.environ.get(API_KEY, "")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    yield run(_listed(facts, _root(address), headers))
    for model in facts.models:
        if _is_streamed(model):
            yield run(_through(model, _root(address), headers))
        elif model.task == ServedTask.EMBED:
            yield run(_embedded(model, _root(address), headers))


async def _listed(facts: Facts, url: str, headers: Mapping[str, str]) -> Step:
    name = "the gateway lists the models"
    try:
        async with TritonHttp(url, headers=headers, seconds=_SECONDS) as client:
            response = await client.fetch("GET", "/v1/models")
        listed = {str(one["id"]) for one in json.loads(response.body)["data"]}
    except (WireError, ValueError, LookupError, TypeError) as error:
        return Step(name, False, f"{url}/v1/models: {error}", _LOG)
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
        return Step(name, False, str(error), _LOG)
    return Step(name, pieces > 1, f"{pieces} pieces", "" if pieces > 1 else _BUFFERED)


async def _embedded(model: ModelFacts, url: str, headers: Mapping[str, str]) -> Step:
    name = f"{model.name} answers through the gateway"
    body = json.dumps({"model": model.name, "input": "Hello"}).encode()
    try:
        async with TritonHttp(url, headers=headers, seconds=_SECONDS) as client:
            answer = await client.fetch("POST", "/v1/embeddings", body)
        size = len(json.loads(answer.body)["data"][0]["embedding"]) if answer.good else 0
    except (WireError, ValueError, LookupError, TypeError) as error:
        return Step(name, False, str(error), _LOG)
    said = f"a vector of {size} numbers" if size else f"HTTP {answer.status}"
    return Step(name, size > 0, said, "" if size else _LOG)


def _words(command: str, facts: Facts) -> list[str]:
    """The command as words, empty without one; UsageError where it cannot be run usefully."""
    if not command:
        return []
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(
            f"--during {command!r} is not a command: {error}", fix="close the quotes"
        ) from None
    if not words or not any(_is_streamed(model) for model in facts.models):
        raise UsageError(
            "--during needs a command, and a model that streams text", fix="leave --during out"
        )
    _require_waiting(" ".join(words))
    return words


def _require_waiting(command: str) -> None:
    """Raise UsageError for a restart of a rollout whose end nothing in the command waits for."""
    restart = re.search(r"[^&;|]*\brollouts? restart\b[^&;|]*", command)
    if restart and not re.search(r"\b(rollouts? status|wait)\b", command):
        own = restart[0].strip().removeprefix("sh -c ").strip()
        raise UsageError(
            f"--during {command!r} returns before anything restarts, so no stream could be cut",
            fix=f"""--during "sh -c '{own} && {own.replace(" restart", " status", 1)}'\"""",
        )


def _is_streamed(model: ModelFacts) -> bool:
    return model.decoupled and ServedTask(model.task).makes_text


def _restarted(client: LLMClient, facts: Facts, words: list[str]) -> Step:
    """Keep streams running while a command restarts the deployment."""
    name = next(model.name for model in facts.models if _is_streamed(model))
    over = threading.Event()
    with ThreadPoolExecutor(_STREAMS) as pool:
        running = [pool.submit(_stream, client, name, over.is_set) for _ in range(_STREAMS)]
        try:
            done = process.run(words, timeout=1800)
        finally:
            over.set()
        counts = [one.result() for one in running]
    whole, cut, refused = (sum(part) for part in zip(*counts, strict=True))
    said = f"{whole} streams whole, {cut} cut, {refused} refused"
    if not done.ok:
        said = f"{words[0]} failed: {' '.join(done.stderr.split())[:200]}"
    ok = done.ok and not cut and not refused and whole > 0
    fix = "" if ok else "`trtbuild deploy check` compares preStop, exit timeout and grace period"
    return Step("a restart cuts no stream", ok, said, fix)


def _stream(client: LLMClient, name: str, is_over: Callable[[], bool]) -> tuple[int, int, int]:
    """Stream until it is over: how many ended well, were cut, were refused."""
    whole = cut = refused = 0
    while True:
        begun = False
        try:
            for _ in client.generate(name, "Once upon a time", _LONG, timeout=_SECONDS):
                begun = True
            whole += 1
        except TrtbuildError:
            cut, refused = cut + begun, refused + (not begun)
        if is_over():
            return whole, cut, refused


def require_passed(steps: Iterable[Step]) -> None:
    """Raise ServerError when a step failed, with each that did."""
    failed = [step for step in steps if not step.ok]
    if failed:
        raise ServerError(
            f"{len(failed)} of the deployment's checks failed",
            details=tuple(f"{step.name}: {step.said}" for step in failed),
            fix=failed[0].fix,
        )
