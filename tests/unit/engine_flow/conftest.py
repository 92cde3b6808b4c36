"""What conversions to engines start from: a checkpoint, and a machine with a GPU."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from support.checkpoints import make_llama
from support.engine_conversions import L4
from support.trtllm_tools import write_nvidia_smi


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs in front of PATH: a GPU, and nothing else of NVIDIA's."""
    folder = tmp_path / "tools"
    write_nvidia_smi(folder, L4)
    monkeypatch.setenv("PATH", f"{folder}:{Path(sys.executable).parent}:/usr/bin:/bin")
    return folder


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """A small Llama."""
    return make_llama(tmp_path / "llama")
