"""Conversions by the engine flow, and engines to give to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trtbuild import pbtxt
from trtbuild.errors import TrtbuildError
from trtbuild.pipeline.convert import ConvertResult, convert
from trtbuild.recipe import ModelRecipe

L4 = "NVIDIA L4, 23034, 8.9"
"""A GPU as nvidia-smi tells of it: name, MiB, compute capability."""

PARTS = ("", "_preprocessing", "_tensorrt_llm", "_postprocessing")


def run(source: Path, repo: Path, **recipe: Any) -> ConvertResult:
    """Convert ``source`` to the model ``llm``, with further fields of its recipe."""
    keywords = {key: recipe.pop(key) for key in ("force", "dry_run", "triton") if key in recipe}
    model = ModelRecipe(
        **{"source": str(source), "name": "llm", "backend": "trtllm-engine", **recipe}
    )
    return convert(model, repository=repo, **keywords)


def refused(kind: type[TrtbuildError], source: Path, repo: Path, **recipe: Any) -> TrtbuildError:
    """The error, after which nothing is half-written."""
    before = sorted(path.name for path in repo.iterdir()) if repo.exists() else None
    with pytest.raises(kind) as caught:
        run(source, repo, **recipe)
    after = sorted(path.name for path in repo.iterdir()) if repo.exists() else None
    assert after == before
    engines = repo.parent / "engines"
    left = [path for path in engines.rglob("*") if path.is_file()] if engines.exists() else []
    assert [path for path in left if path.suffix != ".log" and "config" in path.name] == []
    return caught.value


def config_of(repo: Path, part: str = "_tensorrt_llm") -> Any:
    """The ``ModelConfig`` of a part of the model ``llm``."""
    return pbtxt.parse((repo / f"llm{part}" / "config.pbtxt").read_text(encoding="utf-8"))


def make_engine(folder: Path, *, ranks: int = 1, **changes: Any) -> Path:
    """An engine directory of ``llama`` as TensorRT-LLM leaves it."""
    folder.mkdir(parents=True)
    build = {
        "max_batch_size": 16, "max_input_len": 100, "max_seq_len": 128, "max_num_tokens": 512,
        "max_beam_width": 2, "kv_cache_type": "PAGED",
        "plugin_config": {"use_paged_context_fmha": True, "remove_input_padding": True},
    }  # fmt: skip
    model = {
        "architecture": "LlamaForCausalLM", "dtype": "float16", "logits_dtype": "float32",
        "vocab_size": 512, "mapping": {"world_size": 1, "tp_size": 1, "pp_size": 1},
    }  # fmt: skip
    document = {"version": "1.2.1", "pretrained_config": model, "build_config": build}
    for key, value in changes.items():
        part = build if key in build else model if key in model else document
        part[key] = value
    (folder / "config.json").write_text(json.dumps(document), encoding="utf-8")
    for rank in range(ranks):
        (folder / f"rank{rank}.engine").write_bytes(b"engine %d" % rank)
    return folder
