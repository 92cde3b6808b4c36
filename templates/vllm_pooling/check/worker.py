"""The reference's answers for a model that vLLM will serve. Runs in the export environment.

    python worker.py JOB.json

vLLM is not here, so nothing is compared: a server does it before it calls the model ready.
"""

import json
import sys
from pathlib import Path

_TEXT = Path(__file__).resolve().parent.parent.parent / "text"
sys.path[:0] = [str(_TEXT / part) for part in ("model", "check", "torch")]

import accuracy  # noqa: E402
import compare  # noqa: E402


def main(path):
    """Compute the answers and keep the first ones."""
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    accuracy.say(step="computing the reference")
    import reference

    folder, settings = Path(job["model"]), job["settings"]
    items = accuracy.cases(settings, job["pairs"])
    known = reference.of(settings)(folder, settings)
    rows = [
        (use, item, row)
        for use in compare.uses(settings)
        for item, row in zip(items, known.rows(items, use), strict=True)
    ]
    accuracy.conclude(Path(job["out"]), compare.Found(rows, {}), job["limits"])
    accuracy.say(step="done")


if __name__ == "__main__":
    main(sys.argv[1])
