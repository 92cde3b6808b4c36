"""Retrieval sets of a few documents, in BEIR's layout."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

Qrels = Iterable[tuple[str, str, object]]


def write_set(
    root: Path, documents: Mapping[str, str], queries: Mapping[str, str], qrels: Qrels
) -> Path:
    """The directory ``root`` with the set."""
    (root / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", documents), ("queries", queries)):
        rows = [json.dumps({"_id": key, "text": text}) for key, text in texts.items()]
        (root / f"{name}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in qrels)]
    (root / "qrels/test.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root
