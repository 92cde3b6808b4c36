"""Repositories of models that run on several ranks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.models import write_python_model
from trtbuild import pbtxt


def write_engine(
    repo: Path,
    name: str = "llm",
    *,
    tp: int = 1,
    pp: int = 1,
    files: int | None = None,
    **more: str,
) -> Path:
    """A ``tensorrtllm`` model whose engine has ``tp * pp`` ranks; ``more`` are parameters."""
    version = repo / name / "1"
    version.mkdir(parents=True)
    config = pbtxt.model_config(name=name, backend="tensorrtllm", max_batch_size=8)
    for key, value in {"gpt_model_path": f"/models/{name}/1", **more}.items():
        config.parameters[key].string_value = value
    (repo / name / "config.pbtxt").write_text(pbtxt.render(config), encoding="utf-8")
    document = {
        "version": "1.2.1",
        "pretrained_config": {"mapping": {"world_size": tp * pp, "tp_size": tp, "pp_size": pp}},
        "build_config": {"max_batch_size": 8},
    }
    (version / "config.json").write_text(json.dumps(document), encoding="utf-8")
    for rank in range(tp * pp if files is None else files):
        (version / f"rank{rank}.engine").write_bytes(b"engine")
    return repo


def write_llm_api(repo: Path, name: str = "api", **arguments: int) -> Path:
    """A model of the LLM API."""
    write_python_model(repo, name)
    lines = [f"{key}: {value}" for key, value in {"model": "org/x", **arguments}.items()]
    (repo / name / "1" / "model.yaml").write_text("\n".join(lines), encoding="utf-8")
    return repo


def seen_as_is(repo: Path, **more: Any) -> Path:
    """An engine whose path is this machine's, not a container's."""
    return write_engine(repo, gpt_model_path=str(repo / "llm/1"), **more)
