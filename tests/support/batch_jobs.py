"""Inputs of batch jobs, and the rows of an output directory."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def write_lines(path: Path, rows: Iterable[object]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def texts(path: Path, count: int) -> Path:
    """JSON Lines with ``id`` and ``text``."""
    return write_lines(path, ({"id": f"r{n}", "text": f"text {n}"} for n in range(count)))


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The rows of all parts, in the order of the parts."""
    tables = [pq.read_table(path) for path in sorted(folder.glob("part-*.parquet"))]
    return pa.concat_tables(tables).to_pylist() if tables else []
