"""What a rehearsal of the LLM API leaves behind when its server is killed: nothing.

The engine flow's is the last test of ``test_ensemble_rehearsed.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.checkpoints import make_tiny
from support.rehearsal import kill_and_look, rehearsing
from trtbuild.pipeline.convert import convert
from trtbuild.recipe import ModelRecipe


def test_an_engine_does_not_outlive_a_killed_server(tmp_path: Path) -> None:
    weights = make_tiny(tmp_path / "weights")
    engine: dict[str, Any] = {"dtype": "float32", "max_seq_len": 128}
    recipe = ModelRecipe(source=str(weights), name="tiny", backend="trtllm", engine=engine)
    convert(recipe, repository=tmp_path / "repository")
    with rehearsing(tmp_path / "repository", tmp_path / "work", killed=True) as found:
        kill_and_look(found.pid, found.grpc_url, "tiny")
