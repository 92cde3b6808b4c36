"""Killed at random moments, a job has each row exactly once, and repeats only calls in flight."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.batch_jobs import rows_of, texts
from support.batch_server import BatchServer

_ROWS, _AT_ONCE, _PART = 1200, 16, 130
# Without the command line, which takes longer to start than the rest of a life here.
_CHILD = """
import sys
from trtbuild.progress import SILENT
from trtbuild_batch.jobs.run import run
from trtbuild_batch.options import RunOptions, TaskOptions
url, concurrency, part_rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
options = RunOptions(
    inputs=("rows.jsonl",), out="out", target=url, model="m", part_rows=part_rows,
    concurrency=concurrency,
)
end = run(options, TaskOptions(prompt="S: {{ text }}"), SILENT)
print(end.done, end.errors)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.long)])
def test_a_killed_job_loses_and_repeats_nothing_but_calls_in_flight(
    kills: int, tmp_path: Path, server: BatchServer
) -> None:
    texts(tmp_path / "rows.jsonl", _ROWS)
    chance = random.Random(kills)
    moments = sorted(chance.sample(range(20, _ROWS), kills))
    children: list[subprocess.Popen[str]] = []
    calls = 0

    def decide(text: str, _times: int) -> float:
        nonlocal calls
        calls += 1
        if moments and calls >= moments[0] and len(children) == kills - len(moments) + 1:
            moments.pop(0)
            time.sleep(chance.uniform(0, 0.01))  # no answer ends the job meanwhile
            children[-1].send_signal(signal.SIGKILL)
        return chance.uniform(0, 0.004)

    server.decide = decide
    codes = []
    while not codes or codes[-1] != 0:
        command = [sys.executable, "-c", _CHILD, server.url, str(_AT_ONCE), str(_PART)]
        children.append(subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True))
        said, _ = children[-1].communicate(timeout=300)
        codes.append(children[-1].returncode)
        assert codes[-1] in (0, -signal.SIGKILL)
    assert said == f"{_ROWS} 0\n"
    assert codes.count(-signal.SIGKILL) == kills
    found = rows_of(tmp_path / "out")
    assert [row["row"] for row in found] == list(range(_ROWS))
    assert all(row["output"] == f"re: S: text {row['row']}" for row in found)
    assert calls == sum(server.asked.values())
    assert _ROWS <= calls <= _ROWS + kills * _AT_ONCE
    left = {path.name for path in (tmp_path / "out").iterdir() if path.suffix != ".parquet"}
    assert left == {".lock", "_job.json", "_options.json"}
