"""``trtbuild eval paraphrase``: ask each question in several forms, and compare the answers."""

from __future__ import annotations

from dataclasses import dataclass

from trtbuild.errors import QualityError
from trtbuild.progress import SILENT, Progress
from trtbuild_measure.answers.agreement import Agreement, Said, agreements, chosen, part_of
from trtbuild_measure.answers.options import ParaphraseOptions
from trtbuild_measure.answers.prompts import completed, read_lines
from trtbuild_measure.answers.rewriting import Form, Question, forms, read_variants
from trtbuild_measure.jobs.answering import asker_for, pattern_of

_FIX = (
    'write {"prompt": "…"}, {"messages": […]} or {"prompt": "Which is it?\\n{options}", "options": '
    '["first", "second"]}, one a line'
)


@dataclass(frozen=True, slots=True)
class Paraphrased:
    """The result.

    Attributes:
        target: What was asked.
        questions: How many.
        agreements: By rule, then of whole questions.
        answers: To every form of every question, first the question's own.
    """

    target: str
    questions: int
    agreements: tuple[Agreement, ...]
    answers: tuple[Said, ...]


def paraphrase(options: ParaphraseOptions, progress: Progress = SILENT) -> Paraphrased:
    """Ask the questions of a file in all their forms.

    Raises:
        UsageError: An invalid file, target or option.
        ServerError: The target does not answer.
    """
    pattern = pattern_of("--answer", options.answer)
    lines = read_lines(options.prompts, Question, "question", _FIX)
    questions = completed(lines, options.max_tokens, options.prompts)
    own = read_variants(options.variants, questions) if options.variants else {}
    asker = asker_for(options, progress)
    made: list[tuple[Question, Form]] = []
    for question in questions:
        first, *others = forms(question, own.get(question.id, ()))
        made += [(question, form) for form in (first, first, *others)]
    progress.step(f"asking {len(questions)} questions in {len(made)} forms")
    answers = asker.ask([question.asked(form.text, form.options) for question, form in made])
    said = [
        Said(
            question.id,
            form.rule,
            form.text,
            answer.text,
            chosen(answer.text, form.options) if form.options else part_of(answer.text, pattern),
        )
        for (question, form), answer in zip(made, answers, strict=True)
    ]
    return Paraphrased(asker.address.text, len(questions), tuple(agreements(said)), tuple(said))


def require_agreement(found: Paraphrased, least: float) -> None:
    """Raise QualityError if the answers to any kind of variant agree less often."""
    below = [one for one in found.agreements if one.rule != "all" and one.share < least]
    if below:
        raise QualityError(
            f"answers agree less often than {least:g}",
            where=found.target,
            details=tuple(
                f"{one.rule}: {one.agreed} of {one.of}, {one.share:.3f}" for one in below
            ),
            fix="--json has each answer; a prompt with clearer instructions, a larger or a less "
            "quantized model depends less on the form",
        )
