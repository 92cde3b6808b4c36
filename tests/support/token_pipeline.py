"""What transformers' own pipeline answers for labels of tokens. Runs in the export environment.

python token_pipeline.py CHECKPOINT TEXTS.json ANSWERS.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HOW = ("none", "simple", "first", "average", "max")


def main(folder: str, texts: str, answers: str) -> None:
    """Write the entities of each text by aggregation: label, start, end, score."""
    from transformers import (
        AutoModelForTokenClassification,
        AutoTokenizer,
        TokenClassificationPipeline,
    )

    asked = json.loads(Path(texts).read_text(encoding="utf-8"))
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found: dict[str, Any] = {}
    for how in HOW:
        pipeline = TokenClassificationPipeline(
            model=model, tokenizer=tokenizer, aggregation_strategy=how
        )
        found[how] = [[_row(one) for one in pipeline(text)] for text in asked]
    Path(answers).write_text(json.dumps(found), encoding="utf-8")


def _row(one: dict[str, Any]) -> list[Any]:
    label = one.get("entity_group", one.get("entity"))
    return [label, int(one["start"]), int(one["end"]), float(one["score"])]


if __name__ == "__main__":
    main(*sys.argv[1:])
