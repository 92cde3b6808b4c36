"""What a rehearsal leaves behind when its server is killed: nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from support.checkpoints import make_tiny
from support.rehearsal import rehearsing
from trtbuild.client import LLMClient, Sampling
from trtbuild.pipeline.convert import convert
from trtbuild.recipe import ModelRecipe


@pytest.mark.parametrize("backend", ["trtllm", "trtllm-engine"])
def test_an_engine_does_not_outlive_a_killed_server(tmp_path: Path, backend: str) -> None:
    weights = make_tiny(tmp_path / "weights")
    engine: dict[str, Any] = {"dtype": "float32", "max_seq_len": 128}
    later = {"build": False} if backend == "trtllm-engine" else {}
    recipe = ModelRecipe(source=str(weights), name="tiny", backend=backend, engine=engine, **later)
    convert(recipe, repository=tmp_path / "repository")
    checkpoints = {"tiny": str(weights)} if later else {}
    with rehearsing(tmp_path / "repository", tmp_path / "work", checkpoints, killed=True) as found:
        server = psutil.Process(found.pid)
        running = [server, *server.children(recursive=True)]
        assert any("EngineCore" in process.name() for process in running)
        with LLMClient(found.grpc_url) as client:
            long = Sampling(max_tokens=100, temperature=0, ignore_eos=True)
            next(iter(client.generate("tiny", "Once upon a time", long)))
            os.kill(found.pid, signal.SIGKILL)
        alive = psutil.wait_procs(running, timeout=20)[1]
        assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
