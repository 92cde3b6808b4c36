"""The comparisons of several conversions in one process, by the script that a conversion runs.

python torch_references.py JOBS.json DIRECTORY-OF-WORKER
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from pathlib import Path


def main(jobs: str, folder: str) -> None:
    """Run every job; the first that differs ends the program."""
    sys.path.insert(0, folder)
    worker = importlib.import_module("worker")
    for job in json.loads(Path(jobs).read_text(encoding="utf-8")):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(job, file)
            file.flush()
            worker.main(file.name)


if __name__ == "__main__":
    main(*sys.argv[1:])
