"""The recorded answers, with which served texts are compared, are those of transformers."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.exporting import Run
from support.reference_answers import recorded
from support.reference_prompts import answer_all


@pytest.mark.nightly
def test_transformers_answers_as_it_did(smollm2: Path, exporter: Run) -> None:
    for name, answers in answer_all(exporter, smollm2).items():
        assert recorded(name) == answers, "python scripts/record_reference_answers.py"
