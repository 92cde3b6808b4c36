"""The prompts whose answers by transformers are recorded, and how they are computed."""

from __future__ import annotations

from pathlib import Path

from support import rehearsed_llms, smollm2
from support.exporting import Run
from support.reference_answers import Answer, computed


def answer_all(run: Run, model: Path) -> dict[str, list[Answer]]:
    """What transformers answers today to all that is recorded; ``model`` is the sample."""
    rehearsed = rehearsed_llms.questions(model)
    return {
        "smollm2": computed(run, model, smollm2.PROMPTS, smollm2.MAX_TOKENS),
        "smollm2, rehearsed": computed(run, model, rehearsed, rehearsed_llms.TOKENS),
    }
