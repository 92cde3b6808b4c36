"""Precision and recall of the gateway's masking on tests/data/masking.txt.

    python scripts/measure_masking.py [--misses]

A find counts if it has the kind and the exact place of what is marked. ``--misses`` prints every
other find and every mark that was not found.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trtbuild_gateway.access.masking import Rule, finds
from trtbuild_gateway.access.patterns import NAMES, built_in

TEXTS = Path(__file__).resolve().parents[1] / "tests/data/masking.txt"
_MARK = re.compile(r"⟦(\w+):(.*?)⟧")

Span = tuple[str, int, int]


@dataclass
class Score:
    """Counts of one kind."""

    right: int = 0
    wrong: int = 0
    missed: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def precision(self) -> float:
        """The share of finds that are right."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else 1.0

    @property
    def recall(self) -> float:
        """The share of marks that were found."""
        return self.right / (self.right + self.missed) if self.right + self.missed else 1.0


def texts(path: Path = TEXTS) -> Iterator[tuple[str, set[Span]]]:
    """Yield each text without its marks, and the marks."""
    for written in path.read_text(encoding="utf-8").splitlines():
        if written.startswith("#"):
            continue
        text, marks, at = "", set[Span](), 0
        line = written.replace("\\n", "\n")
        for mark in _MARK.finditer(line):
            text += line[at : mark.start()]
            marks.add((mark[1], len(text), len(text) + len(mark[2])))
            text, at = text + mark[2], mark.end()
        yield text + line[at:], marks


def measure() -> dict[str, Score]:
    """Return the counts by kind; ``all`` is their sum."""
    rules = [Rule(built_in(name), "mask") for name in NAMES]
    scores = {name: Score() for name in (*NAMES, "all")}
    for text, marks in texts():
        found = {(one.rule.pattern.name, one.start, one.end) for one in finds(rules, text)}
        for kind, spans in (
            ("right", found & marks),
            ("wrong", found - marks),
            ("missed", marks - found),
        ):
            for name, start, end in spans:
                for score in (scores[name], scores["all"]):
                    setattr(score, kind, getattr(score, kind) + 1)
                    if kind != "right":
                        score.notes.append(f"{kind} {name}: {text[start:end]!r} in {text!r}")
    return scores


def main() -> None:
    """Print a table."""
    scores = measure()
    count = sum(1 for _ in texts())
    print(f"{count} texts")
    print("| kind | marked | precision | recall |\n|---|---|---|---|")
    for name, score in scores.items():
        marked = score.right + score.missed
        print(f"| {name} | {marked} | {score.precision:.3f} | {score.recall:.3f} |")
    if "--misses" in sys.argv[1:]:
        print("\n".join(scores["all"].notes))


if __name__ == "__main__":
    main()
