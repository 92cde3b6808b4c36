"""Probe requests: one token, a stream, a cancelled one, several at once.

A model of another task gets one example, a model without a request schema gets zeros.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing, closing

from trtbuild.check import Finding, Severity
from trtbuild.client import AsyncLLMClient, LLMClient, Sampling
from trtbuild.client.failures import NoAnswerError
from trtbuild.client.reference import DiffersError, require_answers
from trtbuild.errors import ServerError
from trtbuild.probe.rules import ANSWERS, CANCELS, EQUALS, OVERLAPS, STREAMS, LiveRule
from trtbuild.probe.target import ANSWER_SECONDS, ProbedModel, RepositoryModel
from trtbuild.wire.blocking import fetch, run
from trtbuild.wire.failures import WireError
from trtbuild.wire.metrics import parse_metrics
from trtbuild.wire.tensors import InferRequest, TensorError, TensorValue
from trtbuild.wire.triton_grpc import TritonGrpc

_TOGETHER = 4
_LONG = Sampling(max_tokens=24, temperature=0, ignore_eos=True)
# An engine finishes a few steps before a cancellation reaches it; on a busy machine a small model
# made 39 tokens more. Only a request that nobody cancels makes all of them, every time.
_LONG_ANSWER = Sampling(max_tokens=256, temperature=0, ignore_eos=True)
_TOKENS_AFTER_CANCEL = 16
_CANCEL_ATTEMPTS = 3
_REST_SECONDS = 30
_GENERATED = "vllm:generation_tokens"
_RUNNING = "vllm:num_requests_running"
_COUNTERS = (_GENERATED, _RUNNING, "vllm:num_requests_waiting")
_BATCHED_SPEED = 3.2


def try_llm(client: LLMClient, target: ProbedModel) -> Iterator[Finding]:
    """Test everything an LLM should do. If it does not answer at all, report that only once."""
    config = target.config
    streams = config.model_transaction_policy.decoupled or config.platform == "ensemble"
    attempts: list[tuple[LiveRule, Callable[[LLMClient, ProbedModel], str]]] = [
        (ANSWERS, _one_token)
    ]
    if streams:
        attempts += [(STREAMS, _stream), (OVERLAPS, _overlapping), (CANCELS, _cancelled)]
    else:
        attempts += [(OVERLAPS, _faster_together)]
    for rule, attempt in attempts:
        try:
            problem = attempt(client, target)
        except ServerError as error:
            problem = f"{error.what} {error.where}".strip()
        if problem:
            yield target.finding(rule, problem)
            if rule is ANSWERS:
                return


def try_task(client: LLMClient, target: RepositoryModel) -> Iterator[Finding]:
    """Ask for the answers that the conversion kept; a model without any gets one request.

    Raises:
        NoAnswerError: The server does not answer.
    """
    try:
        if not require_answers(client, target.served, target.repo):
            client.try_out(target.name, timeout=ANSWER_SECONDS)
    except DiffersError as error:
        yield target.finding(EQUALS, error.what, place=(error.where, 0, 0))
    except NoAnswerError:
        raise
    except ServerError as error:
        yield target.finding(ANSWERS, error.what, server_message=error.where, fix=error.fix)


def _one_token(client: LLMClient, target: ProbedModel) -> str:
    sampling = Sampling(max_tokens=1, temperature=0)
    answer = client.answer(target.name, "Hello", sampling, timeout=ANSWER_SECONDS)
    if answer.output_tokens not in (None, 1):
        return f"one token was asked for and {answer.output_tokens} came"
    return ""


def _stream(client: LLMClient, target: ProbedModel) -> str:
    answer = client.answer(target.name, "Once upon a time", _LONG, timeout=ANSWER_SECONDS)
    if answer.chunks < 2:
        return f"a streamed answer of {_LONG.max_tokens} tokens came in {answer.chunks} piece(s)"
    return ""


def _overlapping(_client: LLMClient, target: ProbedModel) -> str:
    """Test concurrent streams: each must begin before any ends."""
    spans = _at_once(target, _TOGETHER)
    if max(first for first, _ in spans) >= min(last for _, last in spans):
        return f"of {_TOGETHER} requests sent at once, one began only when another had ended"
    return ""


def _faster_together(_client: LLMClient, target: ProbedModel) -> str:
    """Test batching without streaming: concurrent requests must take less time than sequential."""
    start = time.monotonic()
    _at_once(target, 1)
    alone = time.monotonic() - start
    start = time.monotonic()
    _at_once(target, _TOGETHER)
    together = time.monotonic() - start
    if together > _BATCHED_SPEED * alone:
        return (
            f"{_TOGETHER} requests at once took {together / alone:.1f} times as long as one: they "
            "are computed one after the other"
        )
    return ""


def _at_once(target: ProbedModel, count: int) -> list[tuple[float, float]]:
    """Return when the first and the last chunk of each answer came."""
    return run(_spans(target, count))


async def _spans(target: ProbedModel, count: int) -> list[tuple[float, float]]:
    async with AsyncLLMClient(target.handle.grpc_url) as client:
        await client.served(target.name)
        return await asyncio.gather(*(_span(client, target, number) for number in range(count)))


async def _span(client: AsyncLLMClient, target: ProbedModel, number: int) -> tuple[float, float]:
    chunks = client.generate(target.name, f"{number} times", _LONG, timeout=ANSWER_SECONDS)
    stamps = [time.monotonic() async for _ in chunks]
    if not stamps:
        raise ServerError("the answer had no chunk")
    return stamps[0], stamps[-1]


def _cancelled(client: LLMClient, target: ProbedModel) -> str:
    """Leave a long answer after a few tokens; the engine must not make the rest of it."""
    whole = 0
    for _ in range(_CANCEL_ATTEMPTS):
        before = _at_rest(target) or {}
        seen = _read(client, target, most=4)
        if _GENERATED not in before:
            return ""
        after = _at_rest(target)
        if after is None:
            return f"{_REST_SECONDS} s after its client left, a cancelled request is still running"
        made = int(after[_GENERATED] - before[_GENERATED])
        if made - seen <= _TOKENS_AFTER_CANCEL:
            return ""
        whole = whole or _read(client, target, most=math.inf)
        if made < whole:
            return ""
    return f"its client left after {seen} tokens, and the engine still generated all {made}"


def _read(client: LLMClient, target: ProbedModel, *, most: float) -> int:
    """Ask for a long answer, read about ``most`` tokens of it, leave; return the tokens read."""
    seen = 0
    asked = (target.name, "Once upon a time", _LONG_ANSWER)
    with closing(client.generate(*asked, timeout=ANSWER_SECONDS)) as chunks:
        for chunk in chunks:
            seen += chunk.output_tokens if chunk.output_tokens is not None else 1
            if seen >= most:
                break
    return seen


def _at_rest(target: ProbedModel) -> Mapping[str, float] | None:
    """Return the counters once they no longer change and nothing runs; None on timeout."""
    until = time.monotonic() + _REST_SECONDS
    last: Mapping[str, float] = {}
    while time.monotonic() < until:
        time.sleep(1.2)  # Backends write their counters at intervals of up to a second.
        now = _counters(target)
        if now == last and not now.get(_RUNNING):
            return now
        last = now
    return None


def _counters(target: ProbedModel) -> Mapping[str, float]:
    """Return the engine's counters for this model; empty if the backend has none."""
    url = f"http://{target.handle.metrics_url}/metrics"
    try:
        response = fetch(url, seconds=10)
        if not response.good:
            raise ValueError(f"HTTP status {response.status}")
        metrics = list(parse_metrics(response.body.decode()))
    except (WireError, ValueError) as error:
        raise ServerError(f"the server's metrics cannot be read: {error}", where=url) from None
    own = (metric for metric in metrics if metric.labels.get("model") == target.name)
    return {metric.name: metric.value for metric in own if metric.name in _COUNTERS}


def try_zeros(target: ProbedModel) -> Iterator[Finding]:
    """Send one request of zeros to a model without a request schema."""
    sequence = {"sequence_id": 1, "sequence_start": True, "sequence_end": True}
    more = sequence if target.config.HasField("sequence_batching") else {}
    said = ""
    try:
        run(_first_answer(target, InferRequest(_zeros(target), more)))
    except (WireError, TensorError) as error:
        said = str(error)
    if said:
        yield target.finding(
            ANSWERS,
            "a request of zeros was not answered",
            server_message=" ".join(said.split()),
            severity=Severity.WARNING,
            fix="fine if the model refuses zeros; else its log has the reason",
        )


async def _first_answer(target: ProbedModel, request: InferRequest) -> None:
    async with (
        TritonGrpc(target.handle.grpc_url, seconds=ANSWER_SECONDS) as client,
        aclosing(client.stream_infer(target.name, request)) as responses,
    ):
        async for _ in responses:
            return


def _zeros(target: ProbedModel) -> tuple[TensorValue, ...]:
    from trtbuild import pbtxt

    made = []
    batch = (1,) if target.config.max_batch_size > 0 else ()
    for tensor in target.config.input:
        if not tensor.optional:
            name = pbtxt.data_type_name(tensor.data_type).removeprefix("TYPE_")
            kind, zero = ("BYTES", b"") if name == "STRING" else (name, 0)
            shape = (*batch, *(max(1, size) for size in tensor.dims))
            made.append(TensorValue(tensor.name, kind, shape, [zero] * math.prod(shape)))
    return tuple(made)
