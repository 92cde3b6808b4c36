"""The real installation of the light runtime: it serves, breaks, is told, and is repaired."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.models import write_python_model

pytestmark = pytest.mark.slow


def trtbuild(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trtbuild", *args],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def light(*args: str) -> dict[str, Any]:
    done = trtbuild("runtime", "status", "--json", *args)
    found: dict[str, Any] = json.loads(done.stdout)[1]
    return found


def test_installed_broken_and_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRTBUILD_CACHE_DIR", str(tmp_path / "cache"))
    done = trtbuild("runtime", "install", "--without-vllm", "--json")
    assert done.returncode == 0, done.stderr
    folder = Path(json.loads(done.stdout)["path"])
    assert light("--verify")["state"] == "ready"

    repo = write_python_model(tmp_path / "models", "echo")
    serve = ("serve", str(repo), "--mode", "embedded", "--detach", "--port", "auto")
    started = trtbuild(*serve)
    assert started.returncode == 0, started.stderr
    assert trtbuild("runtime", "remove").returncode == 7  # it is in use
    assert trtbuild("stop").returncode == 0

    (package,) = folder.glob("lib/python*/site-packages/numpy/__init__.py")
    package.unlink()
    assert "numpy/__init__.py is missing" in light("--verify")["reason"]
    (program,) = folder.glob("lib/python*/site-packages/pytriton/tritonserver/bin/tritonserver")
    program.unlink()
    broken = trtbuild(*serve)
    assert broken.returncode == 7
    assert "the embedded runtime is broken" in broken.stderr
    assert "trtbuild runtime install --force" in broken.stderr

    repaired = trtbuild("runtime", "install", "--without-vllm", "--force")
    assert repaired.returncode == 0, repaired.stderr
    assert light("--verify")["state"] == "ready"
    assert trtbuild(*serve).returncode == 0
    assert trtbuild("stop", "--all").returncode == 0
    assert trtbuild("runtime", "remove").returncode == 0
    assert not folder.exists()
