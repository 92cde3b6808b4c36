"""Verifying what is really deployed: answers, streams, metrics, and a restart that cuts nothing."""

from __future__ import annotations

import re
import shlex
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trtbuild import process
from trtbuild.client import LLMClient, NotServedError, Sampling
from trtbuild.client.failures import NoAnswerError
from trtbuild.errors import ServerError, TrtbuildError, UsageError
from trtbuild.progress import SILENT, Progress
from trtbuild.repository import served_model
from trtbuild.wire.blocking import fetch
from trtbuild.wire.failures import WireError
from trtbuild.wire.metrics import parse_metrics
from trtbuild_deploy.facts import Facts, ModelFacts, read_facts
from trtbuild_deploy.jobs.addresses import Addresses
from trtbuild_deploy.jobs.steps import BUFFERED, Step, is_streamed, root_of, shown
from trtbuild_deploy.jobs.through_gateway import of_gateway

_STREAMS = 4
_SECONDS = 60.0
_LONG = Sampling(max_tokens=64, temperature=0, ignore_eos=True)
_SHORT = Sampling(max_tokens=8, temperature=0, ignore_eos=True)


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
        UsageError: A value is not an address, a command cannot be split into words or does not
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
            steps += of_gateway(facts, addresses.gateway)
        progress.step("reading metrics")  # last: a series begins with its first request
        steps += _of_metrics(facts, addresses, _pages(addresses))
        if words:
            progress.step(f"streaming during {during}")
            steps.append(_restarted(client, facts, words))
    return tuple(steps)


def _of_model(client: LLMClient, model: ModelFacts) -> Iterator[Step]:
    try:
        client.try_out(model.name, timeout=_SECONDS)
    except ServerError as error:
        yield _failed(f"{model.name} answers", error)
        return
    yield Step(f"{model.name} answers", True, "one request")
    if not is_streamed(model):
        return
    try:
        chunks = client.answer(model.name, "Hello", _SHORT, timeout=_SECONDS).chunks
    except ServerError as error:
        yield _failed(f"{model.name} streams", error)
        return
    fix = "" if chunks > 1 else BUFFERED
    yield Step(f"{model.name} streams", chunks > 1, f"{chunks} pieces", fix)


def _failed(name: str, error: ServerError) -> Step:
    """The step for a call of the server that failed."""
    fix = "see the server's log: `trtbuild explain LOG` finds the reason"
    if isinstance(error, NoAnswerError):
        fix = "check --url: does Triton run, and is its HTTP port reachable from here?"
    elif isinstance(error, NotServedError):
        fix = "serve this repository at --url, or name the server that does; see its log"
    elif getattr(error, "status", 0) in (404, 405, 501):
        fix = "check --url: what answers there is not the HTTP port of a Triton"
    return Step(name, False, shown(f"{error.what}: {error.where}".removesuffix(": ")), fix)


def _pages(addresses: Addresses) -> dict[str, str]:
    """Each page's text; empty for one that cannot be read."""
    wanted = [*addresses.metrics]
    wanted += [f"{root_of(addresses.gateway)}/metrics"] if addresses.gateway else []
    return {url: _text(url) for url in wanted}


def _text(url: str) -> str:
    try:
        response = fetch(url, seconds=10)
    except (WireError, ValueError):
        return ""
    return response.body.decode("utf-8", "replace") if response.good else ""


def _of_metrics(facts: Facts, addresses: Addresses, pages: dict[str, str]) -> Iterator[Step]:
    """Every metric that a signal of this deployment is computed from."""
    for url, text in pages.items():
        if not text:
            fix = "make the port reachable from here, or name another address with --metrics"
            yield Step(f"{url} is readable", False, "no page of metrics", fix)
    if not any(pages.values()):
        return
    exported = {name for text in pages.values() for name in _names(text)}
    fix = "turn it on (REPORT_CUSTOM_METRICS, --metrics-config), or scale on another signal"
    if not addresses.metrics:
        fix = "name the server's page too: --metrics http://HOST:8002/metrics"
    for signal in facts.metrics(gateway=bool(addresses.gateway)).signals.values():
        lacking = [name for name in signal.families if not _is_exported(name, exported)]
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
    if not words or not any(is_streamed(model) for model in facts.models):
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


def _restarted(client: LLMClient, facts: Facts, words: list[str]) -> Step:
    """Keep streams running while a command restarts the deployment."""
    name = next(model.name for model in facts.models if is_streamed(model))
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
