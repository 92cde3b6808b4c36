"""What transformers answers greedily in float32: recorded for the sample, computed for the rest.

Computing the sample's answers took as long as the server that is compared with them. ``make
nightly`` computes them again, and ``scripts/record_reference_answers.py`` records them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from support.exporting import Run
from support.paths import TESTS

RECORD = TESTS / "server" / "reference_answers.json"
SCRIPT = Path(__file__).with_name("reference.py")

Answer = dict[str, Any]


def recorded(name: str) -> list[Answer]:
    """The answers to one set of prompts, in their order."""
    found: list[Answer] = json.loads(RECORD.read_text(encoding="utf-8"))[name]
    return found


def computed(
    run: Run, model: Path, prompts: Sequence[Mapping[str, Any]], max_tokens: int
) -> list[Answer]:
    """The answers that transformers gives now, by a fork of the process behind ``run``."""
    job = {"model": str(model), "max_tokens": max_tokens, "prompts": prompts}
    with tempfile.TemporaryDirectory() as work:
        asked, answered, log = (Path(work, name) for name in ("asked", "answered", "log"))
        asked.write_text(json.dumps(job), encoding="utf-8")
        code = run(SCRIPT, asked, answered, log=log)
        assert code == 0, log.read_text(encoding="utf-8")
        found: list[Answer] = json.loads(answered.read_text(encoding="utf-8"))
    return found
