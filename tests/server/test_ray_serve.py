"""The example of Ray Serve, on a Ray of this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import ROOT
from support.ports import kept

SCRIPT = ROOT / "tests/support/clients/with_ray_serve.py"


@pytest.mark.nightly
def test_a_repository_as_an_application_of_ray(tmp_path: Path) -> None:
    pytest.importorskip("ray.serve", reason="the group `neighbors` is not installed")
    repository = tmp_path / "repository"
    convert = ("convert", "sample:smollm2", "--repo", str(repository))
    subprocess.run([sys.executable, "-m", "trtbuild", *convert], check=True, timeout=120)
    with kept(1) as (port,):
        done = subprocess.run(
            [sys.executable, SCRIPT, ROOT / "examples/ray_serve.py", repository, str(port)],
            capture_output=True, text=True, timeout=550, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "no server left" in done.stdout
