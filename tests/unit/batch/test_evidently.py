"""The guide's report of Evidently, with the real library, about two batch jobs."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from support.batch_jobs import write_lines
from support.batch_server import BatchServer
from support.command_line import trtbuild
from support.paths import ROOT

PYTHON = Path(os.environ.get("TRTBUILD_EVIDENTLY", ROOT / ".venv-evidently"), "bin/python")


@pytest.mark.nightly
def test_a_report_about_two_jobs(server: BatchServer, tmp_path: Path) -> None:
    page = (ROOT / "docs/guides/quality-tools.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for name, words in (("may", 5), ("today", 50)):
        rows = ({"text": f"{n} " + "word " * (words + n % 7)} for n in range(200))
        write_lines(tmp_path / "rows.jsonl", rows)
        given = ("rows.jsonl", "-o", name, "--target", server.url, "--model", "m")
        done = trtbuild("batch", "run", *given, "--prompt", "{{ text }}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    (tmp_path / "report.py").write_text(code)
    made = subprocess.run(
        [PYTHON, "report.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300,
        check=False, env={**os.environ, "DO_NOT_TRACK": "1"},
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-3000:]
    assert (tmp_path / "drift.html").stat().st_size > 10_000
    (length,) = re.findall(r"ValueDrift\(column=length,.*\) (\S+)", made.stdout)
    assert float(length) < 0.05
