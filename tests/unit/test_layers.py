"""The layers: the documented table is fresh, and only trtbuild.process starts programs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.paths import ROOT


def test_the_table_of_layers_is_fresh() -> None:
    script = [sys.executable, ROOT / "scripts/document_layers.py", "--check"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


STARTS = """import multiprocessing
import os
import subprocess

os.system("true")
os.popen("true")
"""


@pytest.mark.parametrize(
    ("package", "count"),
    [("measure/trtbuild_measure/bench", 4), ("engine_flow/any", 4), ("src/trtbuild/process", 0)],
)
def test_only_the_process_package_starts_programs(package: str, count: int) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise"]
    command += ["--stdin-filename", f"{package}/new.py", "-"]
    done = subprocess.run(
        command, input=STARTS, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.count("TID251") == count, done.stdout + done.stderr
