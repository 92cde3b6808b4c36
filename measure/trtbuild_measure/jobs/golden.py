"""``trtbuild eval golden``: record a model's answers, and check later ones against them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trtbuild.errors import BenchError, BuildError, ServerError, UsageError
from trtbuild.files import atomic_write
from trtbuild.progress import SILENT, Progress
from trtbuild_measure.answers import recording
from trtbuild_measure.answers.golden import (
    Outcome,
    Verdict,
    compare,
    noise_of,
    wide_margin,
)
from trtbuild_measure.answers.junit import junit
from trtbuild_measure.answers.model import Answer
from trtbuild_measure.answers.options import GoldenCheckOptions, GoldenRecordOptions
from trtbuild_measure.answers.prompts import read_prompts
from trtbuild_measure.answers.recording import Recorded, Recording
from trtbuild_measure.jobs.answering import asker_for
from trtbuild_measure.jobs.bench import require_writable

_MOST_NOISE = 2.0  # nats: a token seven times as probable as the next one


@dataclass(frozen=True, slots=True)
class Check:
    """What a check found.

    Attributes:
        recorded: The target that was recorded.
        target: The target that was checked.
        noise: Of the recording, in nats.
        wide: The margin from which another token is a regression, in nats.
        shift: Largest change of a margin in answers that are equal so far, in nats.
        counts: Prompts by outcome.
        verdicts: Each prompt.
    """

    recorded: str
    target: str
    noise: float
    wide: float
    shift: float
    counts: dict[str, int]
    verdicts: tuple[Verdict, ...]


def record(options: GoldenRecordOptions, progress: Progress = SILENT) -> Recording:
    """Ask every prompt alone, then all together, and write the answers with the noise.

    Raises:
        UsageError: An invalid file, target or option.
        ServerError: The target does not answer, or without log probabilities of other tokens.
        BenchError: The model answers the same prompt too differently.
        BuildError: The file cannot be written.
    """
    require_writable("--out", options.out)
    prompts = read_prompts(options.prompts, options.max_tokens)
    asker = asker_for(options, progress)
    progress.step(f"asking {len(prompts)} prompts, one at a time")
    alone = asker.ask(prompts, logprobs=True, concurrency=1)
    _require_margins(alone, asker.address.text)
    progress.step(f"asking them again, {options.concurrency} at a time")
    together = asker.ask(prompts, logprobs=True)
    noise = noise_of(alone, together)
    if noise > _MOST_NOISE:
        raise BenchError(
            "the target answers the same prompt too differently to be recorded: margins changed "
            f"by up to {noise:.2f} nats",
            where=asker.address.text,
            fix="record one model on one server; check that it takes 'temperature' 0, and that "
            "nothing else changes its answers",
        )
    answers = tuple(map(Recorded, prompts, alone))
    made = Recording(asker.address.text, noise, answers)
    recording.write(options.out, made)
    return made


def check(options: GoldenCheckOptions, progress: Progress = SILENT) -> Check:
    """Ask the recorded prompts again and compare.

    Raises:
        UsageError: An invalid file, target or option.
        ServerError: The target does not answer, or without log probabilities.
    """
    require_writable("--junit", options.junit)
    made = recording.read(options.recording)
    asker = asker_for(options, progress)
    # The answers must be as long as the recorded ones.
    prompts = [one.prompt for one in made.answers]
    progress.step(f"asking {len(prompts)} prompts")
    found = asker.ask(prompts, logprobs=True)
    _require_same_tokens(made, found[0].steps[0].token)
    wide = wide_margin(made.noise) if options.margin is None else options.margin
    verdicts = tuple(
        compare(one.prompt.id, one.answer, answer, wide)
        for one, answer in zip(made.answers, found, strict=True)
    )
    outcomes = [one.outcome for one in verdicts]
    return Check(
        recorded=made.target,
        target=asker.address.text,
        noise=made.noise,
        wide=wide,
        shift=max(one.shift for one in verdicts),
        counts={kind.value: outcomes.count(kind) for kind in Outcome},
        verdicts=verdicts,
    )


def _require_margins(answers: Sequence[Answer], target: str) -> None:
    if all(step.margin is None for one in answers for step in one.steps):
        raise ServerError(
            "the target sends no other tokens than the generated ones, so nothing tells how sure "
            "it was of them, and all noise would be a regression",
            where=target,
            fix="ask a server with OpenAI's top_logprobs, such as the gateway or vLLM's own",
        )


def _require_same_tokens(made: Recording, token: int | str) -> None:
    recorded = made.answers[0].answer.steps[0].token
    if isinstance(recorded, int) != isinstance(token, int):
        has, lacks = ("ids", "texts") if isinstance(recorded, int) else ("texts", "ids")
        raise UsageError(
            f"the recording has the {has} of tokens, and this target sends their {lacks}",
            where=made.target,
            fix="record from the same kind of server: the vLLM backend, the gateway and vLLM's own "
            "server send ids",
        )


def describe(verdict: Verdict, wide: float) -> str:
    """Return what a verdict says, in one sentence; nothing for equal answers."""
    if verdict.outcome is Outcome.SAME:
        return ""
    recorded = "the end" if verdict.recorded is None else verdict.recorded
    found = "the end" if verdict.found is None else verdict.found
    if verdict.outcome is Outcome.PROMPT:
        where = "" if verdict.at is None else f" at token {verdict.at}"
        return f"the prompt became other tokens{where}: {found} instead of {recorded}"
    margin = "an unknown margin" if verdict.margin is None else f"a margin of {verdict.margin:.3f}"
    kind = "noise below" if verdict.outcome is Outcome.NOISE else "at least"
    limit = "" if verdict.margin is None else f" ({kind} {wide:.3f})"
    return f"token {verdict.at} is {found} instead of {recorded} at {margin}{limit}"


def write_junit(path: Path, found: Check) -> None:
    """Write the check as JUnit's XML.

    Raises:
        BuildError: It cannot be written.
    """
    text = junit(found.verdicts, [describe(one, found.wide) for one in found.verdicts])
    try:
        atomic_write(path, text.encode("utf-8"))
    except OSError as error:
        raise BuildError(
            f"the report could not be written: {error}", where=str(path), fix="name another file"
        ) from error


def require_passed(found: Check) -> None:
    """Raise BenchError if any answer is a regression."""
    failed = [one for one in found.verdicts if one.failed]
    if not failed:
        return
    prompts = sum(one.outcome is Outcome.PROMPT for one in failed)
    fix = "compare weights, quantization and engine version with those that were recorded; if the "
    fix += "change is wanted, record again"
    if prompts == len(failed):
        fix = "compare the chat template and the tokenizer with those that were recorded; if the "
        fix += "change is wanted, record again"
    raise BenchError(
        f"{len(failed)} of {len(found.verdicts)} answers are not those that were recorded",
        where=found.target,
        details=tuple(f"{one.id}: {describe(one, found.wide)}" for one in failed[:20]),
        fix=fix,
    )
