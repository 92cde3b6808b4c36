"""The comparison that a conversion ends with, and the reference answers that it keeps."""

import json
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
MARK = "trtbuild"
_KEPT = 4096  # numbers of the reference that go into the repository
_LONG = 1024  # tokens up to which an over-long text is computed, and not only tokenized


def say(**fields):
    """One line of progress."""
    sys.stdout.write(json.dumps({MARK: 1, **fields}) + "\n")
    sys.stdout.flush()


def check(folder, out, settings, job, *, core=None, given=None):
    """Compare what will be served with the reference, whose first answers stay for the server."""
    import compare

    say(step="computing the reference")
    items = cases(settings, job["pairs"])
    found = compare.against(
        folder, out, settings, items, limits=job["limits"], given=given, core=core
    )
    conclude(out, found, job["limits"])


def conclude(out, found, limits):
    """Write the report; the program ends with 3 if an answer is beyond the limits."""
    kept = [
        {"input_type": use, "item": item, "row": [float(x) for x in row.ravel()]}
        for use, item, row in _first_of_each_use(found.rows)
    ]
    report = {"limits": limits, "worst": found.worst, "kept": kept}
    (out / "reference.json").write_text(json.dumps(report, ensure_ascii=False), encoding="utf-8")
    say(worst=found.worst)
    if found.problems:
        for line in found.problems:
            sys.stdout.write(f"ERROR: {line}\n")
        sys.exit(3)


def _first_of_each_use(rows):
    """Rows up to a size that a repository can bear, at least one with every prompt."""
    uses = list(dict.fromkeys(use for use, *_ in rows))
    size = max(1, rows[0][2].size)
    count = max(1, _KEPT // size // len(uses))
    return [row for use in uses for row in [one for one in rows if one[0] == use][:count]]


def cases(settings, pairs):
    """The committed texts, one of them longer than the model takes."""
    table = json.loads((_HERE / "texts.json").read_text(encoding="utf-8"))
    long = table["long"] * (min(settings["max_tokens"] or _LONG, _LONG) // 10 + 2)
    if pairs:
        found = [*map(tuple, table["pairs"]), ("the dog", long)]
        # In a template, only documents are cut.
        return found if settings["pair_template"] else [*found, (long, "the fox"), (long, long)]
    return [*table["texts"], long]
