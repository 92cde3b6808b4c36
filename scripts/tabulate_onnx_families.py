"""Convert a tiny random checkpoint of every family by the builder onnx, and print the table.

    python scripts/tabulate_onnx_families.py [FAMILY...]

Needs ``trtbuild runtime install export``. About ten seconds a family.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support import torch_families
from support.command_line import trtbuild
from support.exporting import one_exporter

_HEAD = "| Family | Class | Head | Largest difference | Smallest cosine | Seconds |"


def main(*names: str) -> int:
    """Print a row for each family; the number of those that failed is the exit status."""
    chosen = names or tuple(torch_families.FAMILIES)
    failed = 0
    print(_HEAD, "|---|---|---|---|---|---|", sep="\n")
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        with one_exporter() as run:
            if run(torch_families.__file__, work, *chosen):
                sys.exit("the checkpoints could not be made")
            for row in (convert(work, name) for name in chosen):
                failed += "failed" in row
                print(row, flush=True)
    return failed


def convert(work: Path, name: str) -> str:
    """Return the row of a family."""
    began = time.monotonic()
    done = trtbuild(
        "convert", work / name, "--repo", work / "out" / name, "--backend", "onnx", "--name", "m"
    )
    spent = time.monotonic() - began
    model = torch_families.FAMILIES[name]["model"]
    version = work / "out" / name / "m" / "1"
    if done.returncode:
        problem = " ".join(line.strip() for line in problems(done.stderr))
        return f"| {name} | {model} | | failed: {problem} | | {spent:.0f} |"
    worst = json.loads((version / "reference.json").read_bytes())["worst"]
    head = json.loads((version / "settings.json").read_bytes())["head"]
    differs = f"{worst['max_abs']:.1e} | {worst['cosine']:.7f}"
    return f"| {name} | {model} | {head} | {differs} | {spent:.0f} |"


def problems(text: str) -> Iterator[str]:
    """Return the lines that say what failed."""
    lines = text.splitlines()
    first = next((at for at, line in enumerate(lines) if line.startswith("error")), 0)
    return iter(lines[first : first + 4])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
