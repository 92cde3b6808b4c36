"""Run a worker from its options, until a signal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from trtbuild.errors import UsageError
from trtbuild.progress import Progress
from trtbuild_batch.jobs.pacing import pacer
from trtbuild_batch.targets import open_target, parse
from trtbuild_batch.targets.opening import Address
from trtbuild_batch.worker import addresses, requests
from trtbuild_batch.worker.metrics import address_of, served
from trtbuild_batch.worker.opening import open_sink, open_source
from trtbuild_batch.worker.options import WorkerOptions
from trtbuild_batch.worker.tally import Tally
from trtbuild_batch.worker.working import Worker


def run(options: WorkerOptions, progress: Progress, watch: Callable[[Tally], None]) -> Tally:
    """Answer messages until SIGTERM or Ctrl-C, and return what was done.

    Raises:
        UsageError: An option, a queue that does not exist, or a client that is not installed.
        ServerError: A broker or the target refuses us.
    """
    source = addresses.parse(options.source, "--from")
    answers = addresses.parse(options.to, "--to")
    dead = addresses.parse(options.dead, "--dead")
    if source.is_same(answers) or source.is_same(dead):
        raise UsageError(
            f"{source} cannot be both the source and where messages go",
            where="--to" if source.is_same(answers) else "--dead",
            fix="name another queue",
        )
    try:
        requests.endpoint_of(options.endpoint)
    except ValueError as error:
        raise UsageError(
            f"unknown endpoint {options.endpoint!r}", where="--endpoint", fix=f"use one of {error}"
        ) from None
    if options.listen:
        address_of(options.listen)
    address = parse(options.target, options.model)
    _require_openai(address)
    return asyncio.run(_run(options, address, (source, answers, dead), progress, watch))


def _require_openai(address: Address) -> None:
    if address.kind != "openai":
        raise UsageError(
            "messages are requests of OpenAI's API, which Triton does not speak",
            where="--target",
            fix="start `trtbuild gateway` in front of Triton and name its http://HOST:PORT/v1",
        )


async def _run(
    options: WorkerOptions,
    address: Address,
    queues: tuple[addresses.Queue, addresses.Queue, addresses.Queue],
    progress: Progress,
    watch: Callable[[Tally], None],
) -> Tally:
    source, answers, dead = queues
    most = max(options.concurrency or 0, options.max_concurrency)
    worker = Worker(
        options,
        open_source(source, options.lease),
        open_sink(answers),
        open_sink(dead),
        open_target(
            address,
            timeout=options.timeout,
            api_key_env=options.api_key_env,
            connections=most,
        ),
        pacer(options, address),
        progress,
        watch,
        str(source),
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    with served(options.listen, worker.tally):
        return await worker.run()
