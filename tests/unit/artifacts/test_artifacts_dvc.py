"""The guide's DVC project, with the real program: the same repository on another machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.checkpoints import make_llama
from support.command_line import trtbuild
from support.paths import ROOT
from support.trees import snapshot

DVC = Path(os.environ.get("TRTBUILD_CLIENTS", ROOT / ".venv-clients"), "bin/dvc")


def run(folder: Path, *words: object) -> str:
    """What a program prints that succeeds."""
    env = {
        **os.environ,
        "DVC_NO_ANALYTICS": "1",
        "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }  # fmt: skip
    done = subprocess.run(
        [str(word) for word in words], cwd=folder, env=env, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.nightly
def test_a_stage_converts_and_dvc_keeps_the_repository(tmp_path: Path) -> None:
    guide = (ROOT / "docs/guides/artifacts.md").read_text(encoding="utf-8")
    found = re.search(r"```yaml\n(# dvc\.yaml\n.*?)```", guide, re.DOTALL)
    assert found
    project, other = tmp_path / "project", tmp_path / "other"
    project.mkdir()
    make_llama(tmp_path / "llama")
    stages = found[1].replace("sample:smollm2", str(tmp_path / "llama"))
    (project / "dvc.yaml").write_text(stages)
    (project / "trtbuild.yaml").write_text("version: 1\n")
    run(project, "git", "init", "-q")
    run(project, DVC, "init", "-q")
    run(project, DVC, "remote", "add", "-d", "kept", tmp_path / "remote")
    run(project, DVC, "repro")
    run(project, "git", "add", "-A")
    run(project, "git", "commit", "-qm", "Convert")
    run(project, DVC, "push")

    run(tmp_path, "git", "clone", "-q", project, other)
    shutil.rmtree(project / ".dvc/cache")
    run(other, DVC, "pull")
    assert snapshot(other / "model_repository") == snapshot(project / "model_repository")
    assert "up to date" in run(other, DVC, "status")
    done = trtbuild("validate", other / "model_repository", "--full")
    assert done.returncode == 0, done.stdout
