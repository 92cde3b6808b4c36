"""A benchmark from its options to its result."""

from __future__ import annotations

import asyncio
import contextlib

from trtbuild.errors import UsageError
from trtbuild.progress import SILENT, Progress
from trtbuild_measure.bench import guards
from trtbuild_measure.bench.counting import load_tokenizer
from trtbuild_measure.bench.environment import describe
from trtbuild_measure.bench.options import BenchOptions
from trtbuild_measure.bench.running import OnTick
from trtbuild_measure.bench.targets import parse_target, unique_names
from trtbuild_measure.jobs.bench import inputs, targets
from trtbuild_measure.jobs.bench.prompts import make_prompts
from trtbuild_measure.jobs.bench.session import BenchSession, OnResult, Outcome


def run(
    options: BenchOptions,
    *,
    progress: Progress = SILENT,
    on_tick: OnTick | None = None,
    on_result: OnResult | None = None,
) -> Outcome:
    """Run the benchmark. Figures from before a failure are in the outcome, marked ``partial``.

    Raises:
        UsageError: An invalid target, file or option.
        ServerError: No server, no such model.
        BenchError: The targets must not be compared.
    """
    for kind in options.allow:
        if kind not in guards.KINDS:
            raise UsageError(
                f"unknown kind of difference: {kind!r}",
                fix=f"use --allow with one of {', '.join(guards.KINDS)}",
            )
    addresses = [parse_target(text) for text in options.addresses]
    unique_names(addresses)
    if not addresses:
        raise UsageError("nothing to measure", fix="name a target, or --baseline fastapi")
    with contextlib.ExitStack() as started:
        checkpoint = inputs.checkpoint_of(options, addresses, progress)
        folder = inputs.tokenizer_of(options, addresses, checkpoint)
        tokenizer = load_tokenizer(folder) if folder is not None else None
        prompts = make_prompts(options, tokenizer, options.tokenizer or checkpoint)
        addresses = [
            started.enter_context(inputs.started(address, options, checkpoint, progress))
            for address in addresses
        ]
        prepared = targets.prepare(
            addresses,
            options.generation,
            endpoint=options.endpoint,
            chat=options.chat,
            timeout=options.timeout,
            api_key_env=options.api_key_env,
            metrics_url=options.metrics_url,
        )
        prepared = [inputs.with_dtype(one, options) for one in prepared]
        session = BenchSession(
            options,
            prepared,
            prompts,
            tokenizer,
            checkpoint,
            progress,
            on_tick or (lambda *_: None),
            on_result or (lambda _: None),
            environment=describe() | inputs.digests(folder, options),
        )
        return asyncio.run(session.run())
