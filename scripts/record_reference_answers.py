"""Record what transformers answers for the sample model: tests/server/reference_answers.json.

    python scripts/record_reference_answers.py

The server tests compare the served text with it; ``make nightly`` checks it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support import triton
from support.exporting import exporter
from support.reference_answers import RECORD
from support.reference_prompts import answer_all


def main() -> None:
    with tempfile.TemporaryDirectory() as work, exporter() as run:
        answers = answer_all(run, triton.smollm2(Path(work)))
    text = json.dumps(answers, indent=2, ensure_ascii=False)
    RECORD.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
