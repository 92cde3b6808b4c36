"""One of our scripts at work on a checkpoint, in an environment of its own.

The script gets a job as JSON, in which ``model`` is a directory of links to the checkpoint's files.
It prints its steps as JSON lines (``{"trtbuild": 1, "step": …}``); everything else goes to the log.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trtbuild import process
from trtbuild.checkpoint import CheckpointFile
from trtbuild.files import scratch
from trtbuild.progress import Progress

_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
_TAIL = 40


def run_worker(
    python: Path,
    script: Path,
    job: Mapping[str, Any],
    files: Sequence[CheckpointFile],
    *,
    log: Path,
    progress: Progress,
) -> tuple[int, tuple[str, ...]]:
    """Its exit status and the last lines that it printed for the log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    tail: deque[str] = deque(maxlen=_TAIL)
    with scratch(log.parent, script.parent.name) as folder:
        model = folder / "model"
        for file in files:
            assert file.path is not None, f"{file.name} was not materialized"
            (model / file.name).parent.mkdir(parents=True, exist_ok=True)
            (model / file.name).symlink_to(file.path.resolve())
        request = folder / "job.json"
        request.write_text(json.dumps({**job, "model": str(model)}), encoding="utf-8")
        status = process.run_lines(
            [str(python), "-I", str(script), str(request)],
            on_line=lambda line: _listen(line, tail, progress),
            log_path=log,
            env=_OFFLINE,
        )
    return status, tuple(tail)


def _listen(line: str, tail: deque[str], progress: Progress) -> None:
    if not line.startswith('{"trtbuild": 1'):
        tail.append(line)
        return
    said = json.loads(line)
    if "step" in said:
        progress.step(said["step"])
    elif "done" in said:
        progress.advance(said["done"], said["total"], "texts")
