"""Asks a model many prompts, several at a time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

from trtbuild.progress import Progress
from trtbuild_measure.answers.model import Answer, Model
from trtbuild_measure.answers.prompts import Prompt


async def ask_all(
    model: Model,
    prompts: Sequence[Prompt],
    *,
    logprobs: bool,
    concurrency: int,
    progress: Progress,
) -> list[Answer]:
    """Return the answers in the prompts' order; the first error ends all.

    Args:
        model: An open model.
        prompts: What to ask, each with the length of its answer.
        logprobs: Ask for the log probabilities of the tokens.
        concurrency: Requests under way at a time.
        progress: Shown as requests.
    """
    free = asyncio.Semaphore(concurrency)
    done = itertools.count(1)

    async def one(prompt: Prompt) -> Answer:
        async with free:
            answer = await model.ask(prompt, logprobs=logprobs)
        progress.advance(next(done), len(prompts), "requests")
        return answer

    tasks = [asyncio.ensure_future(one(prompt)) for prompt in prompts]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
